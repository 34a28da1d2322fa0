package main

import (
	"context"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// When scripts run.
var now = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// scripted runs a script in the interpreter that Argo CD links, with what Argo CD gives to a script of a user: a second, three
// libraries, and an `os` that is no global but has to be required.
func scripted(script string, object map[string]any) (any, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for _, open := range []lua.LGFunction{lua.OpenPackage, lua.OpenBase, lua.OpenTable} {
		state.Push(state.NewFunction(open))
		state.Call(0, 0)
	}
	state.PreloadModule(lua.OsLibName, func(state *lua.LState) int {
		state.Push(state.SetFuncs(state.NewTable(), map[string]lua.LGFunction{"date": date}))
		return 1
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	state.SetContext(ctx)
	state.SetGlobal("obj", toLua(state, object))
	state.SetGlobal("actionParams", state.NewTable())
	if err := state.DoString(script); err != nil {
		return nil, err
	}
	return fromLua(state.Get(-1)), nil
}

// date knows the letters that the scripts here use.
func date(state *lua.LState) int {
	letters := strings.NewReplacer("!", "", "%Y", "2006", "%m", "01", "%d", "02", "%H", "15", "%M", "04", "%S", "05")
	state.Push(lua.LString(now.Format(letters.Replace(state.CheckString(1)))))
	return 1
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case string:
		return lua.LString(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case []any:
		table := state.NewTable()
		for _, entry := range value {
			table.Append(toLua(state, entry))
		}
		return table
	case map[string]any:
		table := state.NewTable()
		for key, field := range value {
			table.RawSetString(key, toLua(state, field))
		}
		return table
	default:
		return lua.LNil
	}
}

// fromLua makes a list of an empty table, as Argo CD does, which puts that right afterwards.
func fromLua(value lua.LValue) any {
	switch value := value.(type) {
	case lua.LBool:
		return bool(value)
	case lua.LString:
		return string(value)
	case lua.LNumber:
		return float64(value)
	case *lua.LTable:
		list, object := []any{}, map[string]any{}
		value.ForEach(func(key, entry lua.LValue) {
			if _, isNumber := key.(lua.LNumber); isNumber {
				list = append(list, fromLua(entry))
			} else {
				object[lua.LVAsString(key)] = fromLua(entry)
			}
		})
		if len(object) > 0 {
			return object
		}
		return list
	default:
		return nil
	}
}
