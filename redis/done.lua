-- done. KEYS: lock, failures, verdict. ARGV: owner, what to do with the verdict ('set', 'delete', ''), the verdict, its ms, cost of a failure
-- in us (0: none), window in us, fingerprint of the credential (8 bytes; '': none), most fingerprints that are kept. Returns why a value was
-- refused; '': none was.
local function get(k, n)
  local v = redis.pcall('GETRANGE', k, 0, n)
  return type(v) == 'string' and v or ''
end
local refused = ''
local function set(...)
  local ok = redis.pcall('SET', ...)
  if ok.err then refused = ok.err end
end
if ARGV[2] == 'delete' then
  redis.pcall('DEL', KEYS[3])
elseif ARGV[2] == 'set' then
  set(KEYS[3], ARGV[3], 'PX', ARGV[4])
end
if get(KEYS[1], 31) == ARGV[1] then redis.pcall('DEL', KEYS[1]) end
local cost, window, most = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[8])
if cost > 0 then
  local t = redis.call('TIME')
  local now = t[1] * 1000000 + t[2]
  local v = get(KEYS[2], 15 + 8 * most)
  local paid, known = tonumber(v:sub(1, 16)) or 0, v:sub(17)
  if not (paid > now) then paid, known = now, '' end
  if paid > now + window then paid = now + window end
  if ARGV[7] == '' or not known:find(ARGV[7], 1, true) then
    known = (known .. ARGV[7]):sub(-8 * most)
    paid = math.min(paid + cost, now + window)
    set(KEYS[2], string.format('%016.0f', paid) .. known, 'PX', math.ceil((paid - now) / 1000))
  end
end
return refused
