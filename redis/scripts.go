package redis

import "github.com/redis/rueidis"

// maxEntries is about how many entries the log holds at most, so that it stays below some 20 MB.
const maxEntries = "100000"

// lastEntry is Lua that sets epoch, sequence and id to those of the last entry, or to false, 0 and an empty text. An
// entry that frappe_auth did not write counts as none, so that what follows begins a new epoch.
//
//nolint:dupword // it is Lua
const lastEntry = `
local epoch, sequence, id = false, 0, ''
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if last then
	local fields = {}
	for i = 1, #last[2], 2 do fields[last[2][i]] = last[2][i + 1] end
	local e, s = fields.e or '', fields.s or ''
	if e ~= '' and #e <= 64 and #s <= 15 and s:find('^%d+$') then epoch, sequence, id = e, tonumber(s), last[1] end
end
`

// now is Lua that sets now to the microseconds since 1970. A Lua number holds them exactly.
const now = `
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
`

var (
	// appendScript: KEYS the log, ARGV a new epoch, the data, and how many milliseconds to keep entries. The field p is the ID of
	// the entry before, by which a reader sees whether that is the one it knows.
	appendScript = rueidis.NewLuaScript(lastEntry + now + `
if not epoch then epoch, sequence = ARGV[1], 0 end
local number = string.format('%.0f', sequence + 1)
local oldest = string.format('%.0f', math.max(0, math.floor(now / 1000) - ARGV[3]))
local added = redis.call('XADD', KEYS[1], 'MINID', oldest, '*', 'e', epoch, 's', number, 'p', id, 'd', ARGV[2])
redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ` + maxEntries + `)
return {epoch, number, added}`)

	// startScript begins a log if there is none. KEYS the log, ARGV a new epoch.
	startScript = rueidis.NewLuaScript(`
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('XADD', KEYS[1], '*', 'e', ARGV[1], 's', '1', 'd', '') end
return 1`)

	// resetScript begins a new epoch. KEYS the log, ARGV the old epoch and the new one.
	resetScript = rueidis.NewLuaScript(lastEntry + `
if epoch == ARGV[1] then redis.call('XADD', KEYS[1], '*', 'e', ARGV[2], 's', '1', 'd', '') end
return 1`)

	// lockScript: KEYS the lock, ARGV the owner and milliseconds. It returns no more of another owner than one of ours has.
	lockScript = rueidis.NewLuaScript(`
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return holder:sub(1, 64) end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]`)

	// unlockScript: KEYS the lock, ARGV the owner.
	unlockScript = rueidis.NewLuaScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`)

	// chargeScript keeps when the debt will be paid off. KEYS the debt, ARGV the cost and the limit in microseconds.
	chargeScript = rueidis.NewLuaScript(now + `
local cost, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local debt = math.max(0, (tonumber(redis.call('GET', KEYS[1]) or 0) or 0) - now)
debt = math.min(debt + cost, limit)
if cost > 0 and debt > 0 then
	redis.call('SET', KEYS[1], string.format('%.0f', now + debt), 'PX', string.format('%.0f', math.ceil(debt / 1000)))
end
return string.format('%.0f', debt)`)

	// timeScript takes KEYS so that in a Cluster the node is asked that has the log.
	timeScript = rueidis.NewLuaScript(`return redis.call('TIME')`)
)
