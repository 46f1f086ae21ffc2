"""What Redis does at one go: the scripts, in its Lua.

All keys of leases are in one slot of a cluster (their prefix has a hash tag)::

    state    hash: epoch, made up anew whenever it is missing; version, counts changes; pruned, the last
             version that `changes` has forgotten
    changes  sorted set: whose row has changed, by the version at which it did last
    leases   sorted set: who has a lease, by when it runs out, in milliseconds of the server's clock
    t:ID     the lease of a transceiver
    r:NAME   the lease of a relay

A reader asks what has changed since the version that it knows. So its cost follows the changes, and no
message that gets lost can keep one from it.
"""

from typing import Final

__all__ = ["ANNOUNCE", "CHANGE_LIMIT", "POLL", "WRITE_FLOWS"]

CHANGE_LIMIT: Final = 16_384
"""Changes that are remembered; who is further behind reads all."""

_TOUCH: Final = f"""
local function touch(member)
  local version = redis.call('HINCRBY', KEYS[1], 'version', 1)
  redis.call('ZADD', KEYS[2], version, member)
  local excess = redis.call('ZCARD', KEYS[2]) - {CHANGE_LIMIT}
  if excess > 0 then
    local oldest = redis.call('ZPOPMIN', KEYS[2], excess)
    redis.call('HSET', KEYS[1], 'pruned', oldest[#oldest])
  end
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
"""

ANNOUNCE: Final = (
    _TOUCH
    + """
-- KEYS: state, changes, leases, then rows.
-- ARGV: life of a lease, and of a goodbye, in ms; the channel; for each row member, row, mode, replaced.
local answers = {}
local is_news = false
for i = 4, #KEYS do
  local key, at = KEYS[i], 4 * i - 13
  local member, row, mode, replaced = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local old = redis.pcall('GET', key)
  if type(old) == 'table' then
    redis.call('DEL', key)
    old = false
  end
  if old and mode ~= 'take' and old ~= replaced and string.sub(old, 2, 9) ~= string.sub(row, 2, 9) then
    answers[i - 3] = old
  else
    local is_new = 0
    if mode == 'leave' then
      redis.call('SET', key, row, 'PX', ARGV[2])
      redis.call('ZREM', KEYS[3], member)
    else
      redis.call('SET', key, row, 'PX', ARGV[1])
      is_new = redis.call('ZADD', KEYS[3], string.format('%.0f', now + tonumber(ARGV[1])), member)
    end
    if not old or is_new == 1 or string.sub(old, 1, 17) ~= string.sub(row, 1, 17) then
      touch(member)
      is_news = true
    end
    answers[i - 3] = false
  end
end
if is_news then redis.call('PUBLISH', ARGV[3], '') end
return answers
"""
)
"""Writes leases and goodbyes; answers with what was found in the place of each that was not written."""

POLL: Final = (
    _TOUCH
    + """
-- KEYS: state, changes, leases. ARGV: an epoch to begin with, the version known, how many changes at most.
local ended = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', now), 'LIMIT', 0, 100)
for _, member in ipairs(ended) do
  redis.call('ZREM', KEYS[3], member)
  touch(member)
end
local state = redis.call('HMGET', KEYS[1], 'epoch', 'version', 'pruned')
if not state[1] then
  state[1] = ARGV[1]
  redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
end
local version = state[2] or '0'
local since = '(' .. ARGV[2]
local changes = redis.call('ZRANGEBYSCORE', KEYS[2], since, version, 'WITHSCORES', 'LIMIT', 0, ARGV[3])
return {time[1], time[2], state[1], version, state[3] or '0', changes}
"""
)
"""Tells the time, the epoch, the version, and what has changed; a lease that has run out is a change."""

WRITE_FLOWS: Final = """
-- KEYS: rows. ARGV: their life in ms, then what each says; nothing for one to delete.
for i, key in ipairs(KEYS) do
  local row = ARGV[i + 1]
  if row == '' then redis.call('UNLINK', key) else redis.call('SET', key, row, 'PX', ARGV[1]) end
end
return #KEYS
"""
