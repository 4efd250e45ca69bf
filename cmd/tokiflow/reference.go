package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

type referenceCmd struct{}

// Run prints docs/configuration.md. `make docs` writes it, and a test compares it.
func (referenceCmd) Run(e environment, k *kong.Kong) error {
	_, err := io.WriteString(e.stdout, reference(k.Model.Node))
	return err
}

// reference is docs/configuration.md: every option of every command.
func reference(root *kong.Node) string {
	var b strings.Builder
	b.WriteString(`# Configuration

This page is generated from the definitions of the options: ` + "`make docs`" + ` writes it.

Every option is a flag and an environment variable of the same name: ` + "`--database-url` is `DATABASE_URL`" + `. The flag wins. A
variable that is set but empty counts as not set. An option that takes a list takes it separated by commas, and as a flag it
may also be given several times. A switch is turned on by ` + "`true`" + ` in its variable. Durations are written as in Prometheus:
` + "`90s`, `1h30m`, `1d`" + `. Where a *secret* is wanted, the variable with ` + "`_FILE`" + ` behind its name may name a file that
holds it, as ` + "`DATABASE_URL_FILE=/run/secrets/database`" + `.
`)
	for _, node := range root.Leaves(true) {
		fmt.Fprintf(&b, "\n## tokiflow %s\n\n%s\n", node.Path(), node.Help)
		for _, arg := range node.Positional {
			fmt.Fprintf(&b, "\nArgument `%s`: %s\n", arg.Summary(), arg.Help)
		}
		flagTable(&b, node)
	}
	return b.String()
}

// flagTable prints the flags of a command, group by group in the order of groups.
func flagTable(b *strings.Builder, node *kong.Node) {
	if len(node.Flags) == 0 {
		return
	}
	for _, g := range append([]kong.Group{{}}, groups()...) {
		first := true
		for _, flag := range node.Flags {
			if flag.Name == "help" || flag.Hidden || groupOf(flag) != g.Key {
				continue
			}
			if first {
				if g.Title != "" {
					fmt.Fprintf(b, "\n%s\n", g.Title)
				}
				b.WriteString("\n| flag | variable | default | meaning |\n|---|---|---|---|\n")
				first = false
			}
			fmt.Fprintf(b, "| `%s` | `%s` | %s | %s |\n", usage(flag), variable(flag), defaultOf(flag), meaning(flag))
		}
	}
}

func groupOf(f *kong.Flag) string {
	if f.Group == nil {
		return ""
	}
	return f.Group.Key
}

func usage(f *kong.Flag) string {
	s := "--" + f.Name
	if !f.IsBool() {
		s += "=" + f.FormatPlaceHolder()
	}
	return strings.ReplaceAll(s, "|", `\|`)
}

func defaultOf(f *kong.Flag) string {
	switch {
	case f.IsBool() && f.Default == "":
		return "`false`"
	case f.Default == "":
		return ""
	}
	return "`" + f.Default + "`"
}

func meaning(f *kong.Flag) string {
	s := strings.ReplaceAll(f.Help, "|", `\|`)
	if secret(f.Value) {
		s += " *Secret.*"
	}
	return s
}
