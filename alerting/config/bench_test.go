package config_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/prometheus/alertmanager/template"

	"github.com/tokiflow/tokiflow/alerting/config"
)

func BenchmarkLoad(b *testing.B) {
	s, o := goodSource(), options()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := config.Load(s, o); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStart is what an organisation's start takes: its stored configuration, and what renders its texts.
func BenchmarkStart(b *testing.B) {
	s, o := goodSource(), options().Shared()
	b.ReportAllocs()
	for b.Loop() {
		c, err := config.Read(s, o)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.NewTemplate(external()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRender(b *testing.B) {
	c, err := config.Read(withTitle(`{{ template "discord.default.title" . }}`), options())
	if err != nil {
		b.Fatal(err)
	}
	t, err := c.NewTemplate(external())
	if err != nil {
		b.Fatal(err)
	}
	data := group(t, 10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := t.ExecuteTextString(c.Alertmanager.Receivers[0].DiscordConfigs[0].Title, data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNewTemplate: the first reads the templates that everybody has, the others share them. Held is the heap that one keeps.
func BenchmarkNewTemplate(b *testing.B) {
	for _, shared := range []bool{false, true} {
		b.Run(fmt.Sprintf("shared=%t", shared), func(b *testing.B) {
			o := options()
			if shared {
				o = o.Shared()
			}
			var held []*template.Template
			var configs []*config.Config
			for range b.N {
				c, err := config.Read(config.Default(), o)
				if err != nil {
					b.Fatal(err)
				}
				configs = append(configs, c)
			}
			before := heap()
			b.ReportAllocs()
			b.ResetTimer()
			for _, c := range configs {
				t, err := c.NewTemplate(external())
				if err != nil {
					b.Fatal(err)
				}
				held = append(held, t)
			}
			b.StopTimer()
			b.ReportMetric(float64(heap()-before)/float64(len(held)), "held-B/op")
			runtime.KeepAlive(held)
			runtime.KeepAlive(configs)
		})
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
