package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is shown by completion --help.
func (completionCmd) Help() string {
	return `Examples:

    source <(tokiflow completion bash)
    tokiflow completion bash | sudo tee /etc/bash_completion.d/tokiflow >/dev/null
    tokiflow completion zsh >"${fpath[1]}/_tokiflow"
    tokiflow completion fish >~/.config/fish/completions/tokiflow.fish`
}

// Run prints the script.
func (c completionCmd) Run(e environment, k *kong.Kong) error {
	var b strings.Builder
	places := completions(k.Model.Node)
	switch c.Shell {
	case "bash":
		bashCompletion(&b, places)
	case "zsh":
		zshCompletion(&b, places)
	case "fish":
		fishCompletion(&b, places)
	}
	_, err := io.WriteString(e.stdout, b.String())
	return err
}

// completion is what can follow one command.
type completion struct {
	path     string // the command's words, each with a space before it; empty: tokiflow itself
	commands []word
	flags    []word
}

// word is one thing to complete to.
type word struct {
	text, help string
	values     []string // of a flag that takes one of these
	takes      string   // what a flag takes: "", "value", "file" or "dir"
}

// completions lists every command that is not hidden.
func completions(root *kong.Node) []completion {
	var all []completion
	for _, node := range commands(root) {
		if node.Hidden {
			continue
		}
		c := completion{path: strings.TrimPrefix(" "+node.Path(), " tokiflow")}
		if node == root {
			c.path = ""
		}
		for _, child := range node.Children {
			if !child.Hidden {
				c.commands = append(c.commands, word{text: child.Name, help: child.Help})
			}
		}
		for _, arg := range node.Positional {
			for _, v := range arg.EnumSlice() {
				if v != "" {
					c.commands = append(c.commands, word{text: v})
				}
			}
		}
		for _, flag := range node.Flags {
			c.flags = append(c.flags, flagWord(flag))
		}
		if node != root {
			c.flags = append(c.flags, word{text: "--help", help: "Show help."})
		}
		all = append(all, c)
	}
	return all
}

func flagWord(f *kong.Flag) word {
	w := word{text: "--" + f.Name, help: f.Help, takes: "value"}
	for _, v := range f.EnumSlice() {
		if v != "" {
			w.values = append(w.values, v)
		}
	}
	switch {
	case f.IsBool():
		w.takes = ""
	case f.PlaceHolder == "DIR":
		w.takes = "dir"
	case f.PlaceHolder == "FILE":
		w.takes = "file"
	}
	return w
}

func bashCompletion(b *strings.Builder, places []completion) {
	b.WriteString(`# bash completion of tokiflow
_tokiflow() {
  local at="" word words="" cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"
  COMPREPLY=()
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    if [ "$word" = -- ]; then compopt -o default; return; fi
`)
	known(b, places, "    ")
	b.WriteString("  done\n  case \"$at $prev\" in\n")
	for _, c := range places {
		for _, f := range c.flags {
			pattern := fmt.Sprintf("    %q) ", c.path+" "+f.text)
			switch {
			case len(f.values) > 0:
				fmt.Fprintf(b, "%sCOMPREPLY=($(compgen -W %q -- \"$cur\")); return ;;\n", pattern, strings.Join(f.values, " "))
			case f.takes == "dir":
				b.WriteString(pattern + "compopt -o filenames; COMPREPLY=($(compgen -d -- \"$cur\")); return ;;\n")
			case f.takes == "file":
				b.WriteString(pattern + "compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n")
			case f.takes == "value":
				b.WriteString(pattern + "return ;;\n")
			}
		}
	}
	b.WriteString("  esac\n  case \"$at\" in\n")
	for _, c := range places {
		var all []string
		for _, w := range append(c.commands, c.flags...) {
			all = append(all, w.text)
		}
		fmt.Fprintf(b, "    %q) words=%q ;;\n", c.path, strings.Join(all, " "))
	}
	b.WriteString(`  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _tokiflow tokiflow
`)
}

// known prints the lines that follow the words of the line from command to command.
func known(b *strings.Builder, places []completion, indent string) {
	var paths []string
	for _, c := range places {
		if c.path != "" {
			paths = append(paths, fmt.Sprintf("%q", c.path))
		}
	}
	fmt.Fprintf(b, "%scase \"$at $word\" in %s) at=\"$at $word\" ;; esac\n", indent, strings.Join(paths, "|"))
}

func zshCompletion(b *strings.Builder, places []completion) {
	b.WriteString(`#compdef tokiflow
_tokiflow() {
  local at="" word
  local -a items
  for word in ${words[2,CURRENT-1]}; do
    if [[ $word == -- ]]; then _files; return; fi
`)
	known(b, places, "    ")
	b.WriteString("  done\n  case \"$at ${words[CURRENT-1]}\" in\n")
	for _, c := range places {
		for _, f := range c.flags {
			pattern := fmt.Sprintf("    %q) ", c.path+" "+f.text)
			switch {
			case len(f.values) > 0:
				fmt.Fprintf(b, "%scompadd -- %s; return ;;\n", pattern, strings.Join(f.values, " "))
			case f.takes == "dir":
				b.WriteString(pattern + "_files -/; return ;;\n")
			case f.takes == "file":
				b.WriteString(pattern + "_files; return ;;\n")
			case f.takes == "value":
				b.WriteString(pattern + "return ;;\n")
			}
		}
	}
	b.WriteString("  esac\n  case \"$at\" in\n")
	for _, c := range places {
		fmt.Fprintf(b, "    %q) items=(\n", c.path)
		for _, w := range append(c.commands, c.flags...) {
			fmt.Fprintf(b, "      %s\n", quoted(strings.ReplaceAll(w.text, ":", `\:`)+":"+strings.ReplaceAll(w.help, ":", `\:`)))
		}
		b.WriteString("    ) ;;\n")
	}
	b.WriteString(`  esac
  _describe tokiflow items
}
compdef _tokiflow tokiflow
`)
}

// quoted is s as one word of a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func fishCompletion(b *strings.Builder, places []completion) {
	b.WriteString("# fish completion of tokiflow\ncomplete -c tokiflow -f\n")
	for _, c := range places {
		at := "__fish_use_subcommand"
		if words := strings.Fields(c.path); len(words) > 0 {
			var seen []string
			for _, w := range words {
				seen = append(seen, "__fish_seen_subcommand_from "+w)
			}
			var below []string
			for _, sub := range c.commands {
				below = append(below, sub.text)
			}
			below = append(below, namesakes(c.path, places)...)
			at = strings.Join(seen, "; and ")
			if len(below) > 0 {
				at += "; and not __fish_seen_subcommand_from " + strings.Join(below, " ")
			}
		}
		for _, w := range c.commands {
			fmt.Fprintf(b, "complete -c tokiflow -n %s -a %s -d %s\n", quoted(at), w.text, fishQuoted(w.help))
		}
		for _, f := range c.flags {
			fmt.Fprintf(b, "complete -c tokiflow -n %s -l %s -d %s%s\n", quoted(at), strings.TrimPrefix(f.text, "--"), fishQuoted(f.help), fishValue(f))
		}
	}
}

// namesakes are the commands that have a subcommand of the same name as the command: fish only knows which words were
// seen, not where.
func namesakes(path string, places []completion) []string {
	var found []string
	for _, c := range places {
		if c.path != "" && strings.HasSuffix(c.path, path) && c.path != path {
			found = append(found, strings.Fields(c.path)[0])
		}
	}
	return found
}

// fishQuoted is s as one word of fish, in which a quote within quotes is escaped by a backslash.
func fishQuoted(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}

func fishValue(f word) string {
	switch {
	case len(f.values) > 0:
		return " -x -a " + fishQuoted(strings.Join(f.values, " "))
	case f.takes == "dir":
		return " -x -a '(__fish_complete_directories)'"
	case f.takes == "file":
		return " -r -F"
	case f.takes == "value":
		return " -x"
	}
	return ""
}
