package promapi_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTrees holds parse_query to the form that Prometheus' own page reads, also where no Prometheus is at hand to ask.
func TestTrees(t *testing.T) {
	b := newBench(t, nil, nil)
	const up = `{"type":"vectorSelector","name":"up","offset":0,"offsetExpr":null,"timestamp":null,"startOrEnd":null,"anchored":false,"smoothed":false,` +
		`"matchers":[{"name":"__name__","value":"up","type":"="}]}`
	const number = `{"type":"numberLiteral","val":"1.5"}`
	for query, want := range map[string]string{
		`up`:     up,
		`1.5`:    number,
		`"a"`:    `{"type":"stringLiteral","val":"a"}`,
		`(up)`:   `{"type":"parenExpr","expr":` + up + `}`,
		`-up`:    `{"type":"unaryExpr","op":"-","expr":` + up + `}`,
		`-(1.5)`: `{"type":"unaryExpr","op":"-","expr":{"type":"parenExpr","expr":` + number + `}}`,
		`up{a!="b",c=~"d",e!~"f"} offset -5m @ 60`: `{"type":"vectorSelector","name":"up","offset":-300000,"offsetExpr":null,"timestamp":60000,"startOrEnd":null,"anchored":false,"smoothed":false,` +
			`"matchers":[{"name":"a","value":"b","type":"!="},{"name":"c","value":"d","type":"=~"},{"name":"e","value":"f","type":"!~"},{"name":"__name__","value":"up","type":"="}]}`,
		`up[5m] @ start()`: `{"type":"matrixSelector","name":"up","range":300000,"rangeExpr":null,"offset":0,"offsetExpr":null,"timestamp":null,"startOrEnd":"start","anchored":false,"smoothed":false,` +
			`"matchers":[{"name":"__name__","value":"up","type":"="}]}`,
		`up[1h:1m] @ end() offset 1s`:   `{"type":"subquery","expr":` + up + `,"range":3600000,"rangeExpr":null,"offset":1000,"offsetExpr":null,"step":60000,"stepExpr":null,"timestamp":null,"startOrEnd":"end"}`,
		`sum(up)`:                       `{"type":"aggregation","op":"sum","expr":` + up + `,"param":null,"grouping":[],"without":false}`,
		`topk without (a, b) (1.5, up)`: `{"type":"aggregation","op":"topk","expr":` + up + `,"param":` + number + `,"grouping":["a","b"],"without":true}`,
		`abs(up)`:                       `{"type":"call","args":[` + up + `],"func":{"name":"abs","argTypes":["vector"],"variadic":0,"returnType":"vector"}}`,
		`time()`:                        `{"type":"call","args":[],"func":{"name":"time","argTypes":[],"variadic":0,"returnType":"scalar"}}`,
		`up > bool 1.5`:                 `{"type":"binaryExpr","op":">","lhs":` + up + `,"rhs":` + number + `,"matching":null,"bool":true}`,
		`up / on (a) group_left (b) up`: `{"type":"binaryExpr","op":"/","lhs":` + up + `,"rhs":` + up + `,"bool":false,` +
			`"matching":{"card":"many-to-one","labels":["a"],"on":true,"include":["b"],"fillValues":{"lhs":null,"rhs":null}}}`,
		`up and up`: `{"type":"binaryExpr","op":"and","lhs":` + up + `,"rhs":` + up + `,"bool":false,` +
			`"matching":{"card":"many-to-many","labels":[],"on":false,"include":[],"fillValues":{"lhs":null,"rhs":null}}}`,
	} {
		status, got := b.get("key-1", "/parse_query", form("query", query))
		var answer struct{ Data any }
		var expected any
		if err := json.Unmarshal([]byte(want), &expected); err != nil {
			t.Fatalf("%s: %v", want, err)
		}
		if err := json.Unmarshal([]byte(got), &answer); err != nil || status != 200 {
			t.Errorf("%s: %d %v %s", query, status, err, got)
			continue
		}
		if d := cmp.Diff(expected, answer.Data); d != "" {
			t.Errorf("%s: (-want +got)\n%s", query, d)
		}
	}
}

func TestTheLookbackMayBeGiven(t *testing.T) {
	b := newBench(t, lives(born(1, "a", ago("1h")).deleted(ago("50m")), born(2, "b", ago("1h"))), nil)
	for lookback, want := range map[string]string{"": "1", "1h": "1", "15": "1"} {
		_, got := b.get("key-1", "/query", form("query", "count(tokiflow_monitor_up offset 1s)", "lookback_delta", lookback))
		if wantAnswer := `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1795435200,"` + want + `"]}]}}`; got != wantAnswer {
			t.Errorf("%q: %s", lookback, got)
		}
	}
	// 1 s ago lies 14 s behind an instant of the grid: a lookback of as much finds nothing.
	if _, got := b.get("key-1", "/query", form("query", "tokiflow_monitor_up offset 1s", "lookback_delta", "14s")); got != `{"status":"success","data":{"resultType":"vector","result":[]}}` {
		t.Errorf("%s", got)
	}
	if status, got := b.get("key-1", "/query", form("query", "up", "lookback_delta", "x")); status != 400 {
		t.Errorf("%d %s", status, got)
	}
}
