//go:build unix

package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	fetcher "github.com/fergusstrange/embedded-postgres"
	"github.com/google/go-cmp/cmp"
)

// programs makes a folder with programs that say they are of that version.
func programs(t *testing.T, dir, version string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"postgres", "initdb"} {
		script := fmt.Sprintf("#!/bin/sh\necho '%s (PostgreSQL) %s'\n", name, version)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFindBinaries(t *testing.T) {
	root := t.TempDir()
	for _, v := range []string{"14.9", "16.2", "15.7"} {
		programs(t, filepath.Join(root, v, "bin"), v)
	}
	programs(t, filepath.Join(root, "path"), "15.1 (Some Distribution 15.1-1)")
	f := func(path, want string) {
		t.Helper()
		t.Setenv("PATH", path)
		found, err := findAll(t.Context(), []string{filepath.Join(root, "*", "bin"), filepath.Join(root, "missing")})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, b := range found {
			got = append(got, b.Version)
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("with PATH=%s: %s, want %s", path, s, want)
		}
	}
	f("", "16.2 15.7")
	f(filepath.Join(root, "path"), "15.1 16.2 15.7")

	t.Setenv("PATH", "")
	old, err := findAll(t.Context(), []string{filepath.Join(root, "14.9", "bin")})
	if !errors.Is(err, ErrNoBinaries) || !strings.Contains(err.Error(), "15 or newer is needed") {
		t.Errorf("found %v, %v", old, err)
	}
	if _, err := FindBinaries(t.Context(), filepath.Join(root, "missing")); err == nil || errors.Is(err, ErrNoBinaries) {
		t.Errorf("a folder that was named and is none: %v", err)
	}
	b, err := FindBinaries(t.Context(), filepath.Join(root, "16.2", "bin"))
	if d := cmp.Diff(Binaries{Dir: filepath.Join(root, "16.2", "bin"), Version: "16.2", Major: 16}, b); d != "" || err != nil {
		t.Error(err, d)
	}
	lib := filepath.Join(root, "16.2", "lib")
	if err := errors.Join(os.Mkdir(lib, 0o755), os.WriteFile(filepath.Join(lib, "timescaledb.so"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if b, err := FindBinaries(t.Context(), filepath.Join(root, "16.2", "bin")); err != nil || !b.Timescale {
		t.Errorf("TimescaleDB is not seen: %+v, %v", b, err)
	}
}

func TestFindBinariesFollowsLinks(t *testing.T) {
	root := t.TempDir()
	programs(t, filepath.Join(root, "real"), "17.1")
	if err := os.Mkdir(filepath.Join(root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"postgres", "initdb"} {
		if err := os.Symlink(filepath.Join(root, "real", name), filepath.Join(root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	b, err := FindBinaries(t.Context(), filepath.Join(root, "bin"))
	if err != nil || b.Dir != filepath.Join(root, "real") {
		t.Errorf("found %+v, %v", b, err)
	}
}

func TestProvide(t *testing.T) {
	t.Setenv("PATH", "")
	offline := errors.New("no network")
	f := func(name string, installed []string, made int, fetchFault, installFault error, want, wantSteps string) {
		t.Helper()
		root := t.TempDir()
		for _, v := range installed {
			programs(t, filepath.Join(root, "usr", v, "bin"), v)
		}
		var steps []string
		p := provider{
			folders: []string{filepath.Join(root, "usr", "*", "bin")}, cache: filepath.Join(root, "cache"),
			logger: slog.New(slog.DiscardHandler),
			fetch: func(_ context.Context, v fetcher.PostgresVersion, dir string) error {
				steps = append(steps, "fetch "+string(v[:2]))
				if fetchFault == nil {
					programs(t, filepath.Join(dir, "bin"), string(v))
				}
				return fetchFault
			},
			install: func(context.Context, *slog.Logger) error {
				steps = append(steps, "install")
				if installFault == nil {
					programs(t, filepath.Join(root, "usr", "apt", "bin"), "15.1")
				}
				return installFault
			},
		}
		for range 2 { // the second time it is there
			b, err := p.provide(t.Context(), made)
			got := fmt.Sprint(b.Major)
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, want) {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
			if err != nil {
				break
			}
		}
		if got := strings.Join(steps, ", "); got != wantSteps {
			t.Errorf("%s: %s, want %s", name, got, wantSteps)
		}
	}
	f("newest", []string{"15.3", "16.1"}, 0, nil, nil, "16", "")
	f("the one that made the data", []string{"15.3", "16.1"}, 15, nil, nil, "15", "")
	f("download", nil, 0, nil, nil, "17", "fetch 17")
	f("download what made the data", []string{"16.1"}, 15, nil, nil, "15", "fetch 15")
	f("package", nil, 0, offline, nil, "15", "fetch 17, install")
	f("nothing helps", nil, 0, offline, errors.New("no apt"), "--database-url\nno network\nno apt", "fetch 17, install")
	f("a package may be of another version than the data", []string{"16.1"}, 15, offline, nil, "made by PostgreSQL 15", "fetch 15")
	f("data of the future", []string{"16.1"}, 99, nil, nil, "made by PostgreSQL 99", "")
}

func TestAptInstallSaysWhatItDoes(t *testing.T) {
	var lines []string
	w := &lineLogger{log: func(line string) { lines = append(lines, line) }}
	for _, part := range []string{"Reading", " package lists...\nUnpack", "ing 1%\rUnpacking 2%\n\nDone"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	want := []string{"Reading package lists...", "Unpacking 1%", "Unpacking 2%"}
	if d := cmp.Diff(want, lines); d != "" {
		t.Error(d)
	}
}

// Downloads 15 MB: only where it is asked for.
func TestFetch(t *testing.T) {
	if os.Getenv("TOKIFLOW_TEST_DOWNLOAD") == "" {
		t.Skip("SKIPPED, NOT RUN: downloads PostgreSQL; set TOKIFLOW_TEST_DOWNLOAD=1")
	}
	dir := filepath.Join(openDir(t), "pg")
	if err := fetch(t.Context(), fetcher.V17, dir); err != nil {
		t.Fatal(err)
	}
	s := start(t, filepath.Join(t.TempDir(), "postgres"), Options{BinDir: filepath.Join(dir, "bin")})
	if got := must(t, s.URL(), `select current_setting('server_version_num')::int / 10000`); got != "17" {
		t.Errorf("version %s", got)
	}
}
