-- look. KEYS: lock, failures, then for each ring: state, verdict. ARGV: owner, lock in ms ('0': it is not taken), then for each ring the
-- version of a verdict that is not wanted ('': any is). Returns the time in us, who holds the lock, until when failures are paid, and for
-- each ring: the version of the state, the verdict.
local function get(k, n)
  local v = redis.pcall('GETRANGE', k, 0, n)
  return type(v) == 'string' and v or ''
end
local t = redis.call('TIME')
local r = {t[1] * 1000000 + t[2], '', get(KEYS[2], 15)}
local found = false
for i = 3, #KEYS, 2 do
  r[#r + 1] = get(KEYS[i], 11)
  local v = get(KEYS[i + 1], 65535)
  if v ~= '' and v:sub(1, 12) == ARGV[(i + 3) / 2] then v = '' end
  found = found or v ~= ''
  r[#r + 1] = v
end
if not found then
  if ARGV[2] ~= '0' then
    local ok = redis.pcall('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
    if type(ok) == 'table' and ok.ok then
      r[2] = ARGV[1]
      return r
    end
  end
  r[2] = get(KEYS[1], 31)
end
return r
