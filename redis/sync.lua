-- sync. KEYS: note, then for each ring: state, wake. ARGV: what to write into the note ('': nothing), its ms, then for each ring the version
-- that is known. Returns the time in us, the replication ID, 'full' if nothing is evicted and less than an eighth is free or 'evicts' if
-- any key may be, what the note was, and for each ring: the version, the state if it is another, and the last ID of wake.
local function get(k, n)
  local v = redis.pcall('GETRANGE', k, 0, n)
  return type(v) == 'string' and v or ''
end
local t = redis.call('TIME')
local memory = redis.call('INFO', 'memory')
local function number(name) return tonumber(memory:match('\n' .. name .. ':(%d+)')) or 0 end
local room = ''
if memory:find('maxmemory_policy:allkeys', 1, true) then
  room = 'evicts'
elseif memory:find('maxmemory_policy:noeviction', 1, true) and number('maxmemory') > 0
  and number('used_memory') > number('maxmemory') / 8 * 7 then
  room = 'full'
end
local r = {t[1] * 1000000 + t[2], redis.call('INFO', 'replication'):match('master_replid:(%x+)') or '', room, ''}
if ARGV[1] ~= '' then
  r[4] = get(KEYS[1], 255)
  redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
for i = 2, #KEYS, 2 do
  local now = get(KEYS[i], 11)
  local last = redis.pcall('XREVRANGE', KEYS[i + 1], '+', '-', 'COUNT', 1)
  r[#r + 1] = now
  r[#r + 1] = now ~= ARGV[i / 2 + 2] and get(KEYS[i], 65535) or ''
  r[#r + 1] = last[1] and last[1][1] or '0-0'
end
return r
