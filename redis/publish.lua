-- publish. KEYS: state, wake. ARGV: the version that is replaced ('': none), the new state. Returns 1, or 0 if the version is another.
local now = redis.pcall('GETRANGE', KEYS[1], 0, 11)
if type(now) ~= 'string' then now = '' end
if now ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
local ok = redis.pcall('XADD', KEYS[2], 'MAXLEN', 1, '*', 'v', '')
if type(ok) == 'table' then -- another type, or no ID is left: it is only a hint
  redis.pcall('DEL', KEYS[2])
  redis.pcall('XADD', KEYS[2], 'MAXLEN', 1, '*', 'v', '')
end
return 1
