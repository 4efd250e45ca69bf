package schedule

import (
	"testing"
	"time"
)

func BenchmarkNext(b *testing.B) {
	from := time.Date(2026, 3, 28, 23, 30, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		spec Spec
	}{
		{"interval", Spec{Interval: 3600e9}},
		{"minute/UTC", Spec{Cron: "* * * * *"}},
		{"minute/Berlin", Spec{Cron: "* * * * *", Timezone: "Europe/Berlin"}},
		{"daily/UTC", Spec{Cron: "0 3 * * *"}},
		{"daily/Berlin", Spec{Cron: "30 2 * * *", Timezone: "Europe/Berlin"}}, // over a change
		{"monthly/Berlin", Spec{Cron: "0 9 L * 5L", Timezone: "Europe/Berlin"}},
		{"yearly/Berlin", Spec{Cron: "@yearly", Timezone: "Europe/Berlin"}},
		{"leap/Berlin", Spec{Cron: "0 0 29 2 *", Timezone: "Europe/Berlin"}},
		{"leapSunday/LordHowe", Spec{Cron: "0 0 29 2 */7", Timezone: "Australia/Lord_Howe"}},
		{"never/Berlin", Spec{Cron: "* * 30 2 *", Timezone: "Europe/Berlin"}}, // the worst case
	} {
		s, err := c.spec.Compile()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Next(from)
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	spec := Spec{Cron: "*/15 8-18 1,15,L jan-jun mon-fri", Timezone: "Europe/Berlin"}
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := spec.Compile(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("shared", func(b *testing.B) {
		b.ReportAllocs()
		var c Compiler
		for b.Loop() {
			if _, err := c.Compile(spec); err != nil {
				b.Fatal(err)
			}
		}
	})
}
