package redis

import (
	_ "embed"

	"github.com/redis/rueidis"
)

//nolint:revive // each script says what it does
var (
	//go:embed look.lua
	lookSource string
	//go:embed done.lua
	doneSource string
	//go:embed publish.lua
	publishSource string
	//go:embed sync.lua
	syncSource string

	lookScript    = rueidis.NewLuaScript(lookSource)
	doneScript    = rueidis.NewLuaScript(doneSource)
	publishScript = rueidis.NewLuaScript(publishSource)
	syncScript    = rueidis.NewLuaScript(syncSource)
)
