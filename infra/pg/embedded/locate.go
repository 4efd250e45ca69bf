package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// MinMajor is the oldest major version of PostgreSQL that the schema works on.
const MinMajor = 15

// ErrNoBinaries says that no PostgreSQL server was found on the machine.
var ErrNoBinaries = errors.New("no PostgreSQL server programs found")

// Binaries are the server programs of one PostgreSQL installation.
type Binaries struct {
	Dir       string // holds postgres and initdb
	Version   string // e.g. "15.14"
	Major     int
	Timescale bool // TimescaleDB's library is there to be preloaded
}

// program is the path of one of them.
func (b Binaries) program(name string) string { return filepath.Join(b.Dir, exeName(name)) }

// FindBinaries looks for postgres and initdb of version MinMajor or newer: in dir if it is not empty, and then nowhere
// else; otherwise in PATH and in the folders where distributions put them, the newest version first among the latter.
// ErrNoBinaries is wrapped when there are none.
func FindBinaries(ctx context.Context, dir string) (Binaries, error) {
	if dir != "" {
		b, err := inspect(ctx, dir)
		if err != nil {
			return Binaries{}, fmt.Errorf("PostgreSQL programs in %s: %w", dir, err)
		}
		return b, nil
	}
	found, err := findAll(ctx, distributionFolders())
	if err != nil {
		return Binaries{}, err
	}
	return found[0], nil
}

// findAll lists what there is in PATH and in the folders, in the order of preference; it is never empty without an error.
func findAll(ctx context.Context, patterns []string) ([]Binaries, error) {
	var faults []error
	add := func(list []Binaries, dir string) []Binaries {
		b, err := inspect(ctx, dir)
		if err == nil {
			return append(list, b)
		}
		if !errors.Is(err, os.ErrNotExist) {
			faults = append(faults, err)
		}
		return list
	}
	var first, rest []Binaries
	if p, err := exec.LookPath(exeName("postgres")); err == nil {
		if abs, err := filepath.Abs(p); err == nil {
			first = add(first, filepath.Dir(abs))
		}
	}
	for _, pattern := range patterns {
		dirs, _ := filepath.Glob(pattern)
		for _, dir := range dirs {
			rest = add(rest, dir)
		}
	}
	slices.SortStableFunc(rest, func(a, b Binaries) int { return b.Major - a.Major })
	if found := append(first, rest...); len(found) > 0 {
		return found, nil
	}
	return nil, errors.Join(append([]error{ErrNoBinaries}, faults...)...)
}

// distributionFolders are glob patterns of the folders in which packages put the server programs.
func distributionFolders() []string {
	return []string{
		"/usr/lib/postgresql/*/bin",              // Debian, Ubuntu
		"/usr/pgsql-*/bin",                       // the PostgreSQL project's RPMs
		"/usr/libexec/postgresql*",               // Alpine
		"/usr/lib/postgresql*/bin",               // openSUSE, Gentoo
		"/usr/bin",                               // Fedora, Arch
		"/usr/local/bin", "/usr/local/pgsql/bin", // BSDs, from source
		"/opt/homebrew/opt/postgresql@*/bin", // Homebrew on Apple silicon
		"/usr/local/opt/postgresql@*/bin",    // Homebrew on Intel
		"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
		"/Library/PostgreSQL/*/bin",
	}
}

func exeName(name string) string {
	if runtime.GOOS == "windows" {
		return name + ".exe"
	}
	return name
}

// inspect asks the programs in dir for their version.
func inspect(ctx context.Context, dir string) (Binaries, error) {
	for _, name := range []string{"postgres", "initdb"} {
		if _, err := os.Stat(filepath.Join(dir, exeName(name))); err != nil {
			return Binaries{}, err
		}
	}
	// Some PATH entries are wrappers or links: the programs look for their libraries beside where they really are.
	if real, err := filepath.EvalSymlinks(filepath.Join(dir, exeName("postgres"))); err == nil {
		if _, err := os.Stat(filepath.Join(filepath.Dir(real), exeName("initdb"))); err == nil {
			dir = filepath.Dir(real)
		}
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, exeName("postgres")), "--version").Output() //nolint:gosec // the folder is the operator's
	if err != nil {
		return Binaries{}, fmt.Errorf("%s --version: %w", filepath.Join(dir, "postgres"), err)
	}
	m := regexp.MustCompile(`\(PostgreSQL\) ((\d+)[^ \n]*)`).FindStringSubmatch(string(out))
	if m == nil {
		return Binaries{}, fmt.Errorf("%s --version says %q", filepath.Join(dir, "postgres"), strings.TrimSpace(string(out)))
	}
	major, _ := strconv.Atoi(m[2])
	if major < MinMajor {
		return Binaries{}, fmt.Errorf("%s is PostgreSQL %s; %d or newer is needed", dir, m[1], MinMajor)
	}
	return Binaries{Dir: dir, Version: m[1], Major: major, Timescale: hasTimescale(ctx, dir)}, nil
}

// hasTimescale reports whether the server would find TimescaleDB's loader: in the folder that pg_config names, or, where
// there is none, beside the programs.
func hasTimescale(ctx context.Context, dir string) bool {
	folders := []string{filepath.Join(dir, "..", "lib"), filepath.Join(dir, "..", "lib", "postgresql")}
	if out, err := exec.CommandContext(ctx, filepath.Join(dir, exeName("pg_config")), "--pkglibdir").Output(); err == nil { //nolint:gosec // as above
		folders = []string{strings.TrimSpace(string(out))}
	}
	for _, f := range folders {
		for _, ext := range []string{".so", ".dylib", ".dll"} {
			if _, err := os.Stat(filepath.Join(f, "timescaledb"+ext)); err == nil {
				return true
			}
		}
	}
	return false
}
