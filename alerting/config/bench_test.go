package config_test

import (
	"testing"

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
	s, o := goodSource(), options()
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
