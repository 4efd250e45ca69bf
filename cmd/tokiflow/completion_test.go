package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// script writes the completion script of a shell, if that shell is installed.
func script(t *testing.T, shell string) string {
	t.Helper()
	if _, err := exec.LookPath(shell); err != nil {
		t.Skipf("MISSING %s: its completion script is not tried", shell)
	}
	r := invocation{}.run(t, "completion", shell)
	if r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	file := filepath.Join(t.TempDir(), "completion")
	if err := os.WriteFile(file, []byte(r.Out), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func output(t *testing.T, name string, args ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.Fields(string(out))
}

// lines are command lines and what can follow them.
func lines() map[string][]string {
	return map[string][]string{
		"tokiflow s":                       {"schedule", "serve"},
		"tokiflow serve --kafka-s":         {"--kafka-sasl-mechanism", "--kafka-sasl-password", "--kafka-sasl-username"},
		"tokiflow serve --log-format ":     {"json", "text"},
		"tokiflow schedule n":              {"next"},
		"tokiflow schedule next --cr":      {"--cron"},
		"tokiflow bench ping --ba":         {"--base-url", "--baseline", "--batch"},
		"tokiflow ping --ki":               {"--kind"},
		"tokiflow ping --kind l":           {"log"},
		"tokiflow completion z":            {"zsh"},
		"tokiflow exec --key k --no-o":     {"--no-output"},
		"tokiflow serve --kafka-brokers k": nil,
	}
}

func TestBashCompletion(t *testing.T) {
	t.Parallel()
	file := script(t, "bash")
	for line, want := range lines() {
		got := output(t, "bash", "-c", `source "$1"; read -ra COMP_WORDS <<<"$2"; [ "${2%% }" = "$2" ] || COMP_WORDS+=("");
			COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _tokiflow; printf '%s\n' "${COMPREPLY[@]}" | sort`, "bash", file, line)
		if d := cmp.Diff(want, nilIfEmpty(got)); d != "" {
			t.Errorf("%q: %s", line, d)
		}
	}
}

func TestFishCompletion(t *testing.T) {
	t.Parallel()
	file := script(t, "fish")
	for line, want := range lines() {
		got := output(t, "fish", "--no-config", "-c", "source "+file+"; complete -C "+fishQuoted(line)+" | string split -f1 \\t | sort; true")
		if d := cmp.Diff(want, nilIfEmpty(got)); d != "" {
			t.Errorf("%q: %s", line, d)
		}
	}
}

// TestZshCompletion replaces zsh's own functions by ones that print what they are given.
func TestZshCompletion(t *testing.T) {
	t.Parallel()
	file := script(t, "zsh")
	for line, want := range lines() {
		got := output(t, "zsh", "-f", "-c", `
			compdef() { :; }; _files() { :; }
			compadd() { shift; candidates+=("$@"); }
			_describe() { candidates+=("${(@)items%%:*}"); }
			source $1; words=(${=2}); [[ $2 == *' ' ]] && words+=(''); CURRENT=$#words; candidates=(); _tokiflow
			for c in $candidates; do [[ $c == ${words[CURRENT]}* ]] && print -r -- $c; done | sort; true`, "zsh", file, line)
		if d := cmp.Diff(want, nilIfEmpty(got)); d != "" {
			t.Errorf("%q: %s", line, d)
		}
	}
}

func nilIfEmpty(s []string) []string {
	if len(s) == 0 {
		return nil
	}
	return s
}
