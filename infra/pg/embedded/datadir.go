//go:build unix

package embedded

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// dataDir is the folder of one server:
//
//	lock      held by the process that runs the server
//	password  of the role tokiflow
//	data      PostgreSQL's own, with the socket; belongs to the account, and is closed to others
//	log       what the server writes; log.1 the part before
type dataDir struct {
	root     string // absolute
	account  *Account
	lock     *os.File
	password string
	sockets  string
	temp     bool // sockets is a temporary folder: in the data directory its path would be too long
	// unreachable says that the account cannot enter the folders above data. The server is given it as an open file then.
	unreachable bool
	held        *os.File
}

// socketPort is the number in the socket's name. Nothing listens on TCP.
const socketPort = "5432"

// maxSocketPath is what fits into a socket's address on every system.
const maxSocketPath = 103

// openDataDir makes the folder where it is missing and takes its lock.
func openDataDir(root string, account *Account) (_ *dataDir, err error) {
	if root == "" {
		return nil, errors.New("private PostgreSQL: no data folder is named")
	}
	d := &dataDir{account: account}
	if d.root, err = filepath.Abs(root); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(d.root, 0o755); err != nil { //nolint:gosec // the server's user passes through; what is inside is closed
		return nil, fmt.Errorf("folder of the private PostgreSQL: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if err := d.takeLock(); err != nil {
		return nil, err
	}
	if err := account.CanReach(d.data()); err != nil {
		if runtime.GOOS != "linux" {
			return nil, err
		}
		d.unreachable = true
	}
	if err := d.readPassword(); err != nil {
		return nil, err
	}
	return d, d.makeSockets()
}

func (d *dataDir) data() string { return filepath.Join(d.root, "data") }

// hold gives the folder dir to the account and makes it the one that commands work in. The result is its name for them.
func (d *dataDir) hold(dir string) (string, error) {
	if err := d.account.Own(dir); err != nil {
		return "", fmt.Errorf("give %s to the user %s: %w", dir, d.account.Name, err)
	}
	if !d.unreachable {
		return dir, nil
	}
	if d.held != nil {
		_ = d.held.Close()
	}
	var err error
	if d.held, err = os.Open(dir); err != nil { //nolint:gosec // the operator's own folder
		return "", err
	}
	return "/proc/self/fd/3", nil // the first of ExtraFiles
}

func (d *dataDir) takeLock() error {
	f, err := os.OpenFile(filepath.Join(d.root, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(f)
		_ = f.Close()
		return fmt.Errorf("another tokiflow (process %s) runs on %s: stop it, or choose another --data-dir",
			strings.TrimSpace(string(holder)), d.root)
	}
	d.lock = f
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

func (d *dataDir) readPassword() error {
	path := filepath.Join(d.root, "password")
	b, err := os.ReadFile(path) //nolint:gosec // the operator's own folder
	if err == nil && len(bytes.TrimSpace(b)) > 0 {
		d.password = string(bytes.TrimSpace(b))
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	made, err := d.madeBy()
	if err != nil {
		return err
	}
	if made != 0 {
		return fmt.Errorf("%s is missing: it holds the password of the database in %s", path, d.data())
	}
	var secret [24]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return err
	}
	d.password = hex.EncodeToString(secret[:])
	return os.WriteFile(path, []byte(d.password+"\n"), 0o600)
}

// makeSockets chooses the folder of the socket, which only the account and root can enter: the data directory.
func (d *dataDir) makeSockets() error {
	d.sockets = d.data()
	if len(filepath.Join(d.sockets, ".s.PGSQL."+socketPort+".lock")) <= maxSocketPath {
		return nil
	}
	base := os.TempDir()
	if len(base) > maxSocketPath/2 {
		base = "/tmp"
	}
	dir, err := os.MkdirTemp(base, "tokiflow-pg-")
	if err != nil {
		return fmt.Errorf("folder for the socket: %w", err)
	}
	d.sockets, d.temp = dir, true
	return d.account.Own(d.sockets)
}

// serverSockets is the folder as the server names it.
func (d *dataDir) serverSockets() string {
	if d.temp {
		return d.sockets
	}
	return "."
}

// madeBy is the major version that made the database; 0: there is none yet.
func (d *dataDir) madeBy() (int, error) {
	path := filepath.Join(d.data(), "PG_VERSION")
	b, err := os.ReadFile(path) //nolint:gosec // the operator's own folder
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("%s says %q: this is no database of PostgreSQL %d or newer", path, b, MinMajor)
	}
	return major, nil
}

// init makes the database, under another name until it is whole.
func (d *dataDir) init(ctx context.Context, bin Binaries) error {
	unfinished := d.data() + ".new"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	if err := os.Mkdir(unfinished, 0o700); err != nil {
		return err
	}
	name, err := d.hold(unfinished)
	if err != nil {
		return err
	}
	secret, err := d.passwordFile()
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(secret) }()
	cmd := d.command(bin, "initdb", "-D", name, "-U", roleName, "--pwfile", secret,
		"--auth-local=scram-sha-256", "--auth-host=reject", "--locale=C", "--encoding=UTF8", "--data-checksums")
	out, err := output(ctx, cmd)
	if err != nil {
		return errors.Join(fmt.Errorf("initdb: %w\n%s", err, out), os.RemoveAll(unfinished))
	}
	return os.Rename(unfinished, d.data())
}

// passwordFile is a copy of the password that initdb may read.
func (d *dataDir) passwordFile() (string, error) {
	f, err := os.CreateTemp("", "tokiflow-pg-")
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(d.password + "\n")
	if err = errors.Join(err, f.Close(), d.account.Own(f.Name())); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// output runs a command, killing it when ctx ends, and returns all it has said.
func output(ctx context.Context, cmd *exec.Cmd) ([]byte, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	err := cmd.Wait()
	return out.Bytes(), err
}

func (d *dataDir) logPath() string { return filepath.Join(d.root, "log") }

// openLog opens the log for the server to write on; one that has grown is put aside.
func (d *dataDir) openLog() (*os.File, error) {
	const large = 10 << 20
	if info, err := os.Stat(d.logPath()); err == nil && info.Size() > large {
		if err := os.Rename(d.logPath(), d.logPath()+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(d.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

// logTail is the last lines of the log.
func (d *dataDir) logTail(lines int) string {
	f, err := os.Open(d.logPath())
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }()
	const far = 16 << 10
	if info, err := f.Stat(); err == nil && info.Size() > far {
		_, _ = f.Seek(-far, io.SeekEnd)
	}
	b, _ := io.ReadAll(f)
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(len(all)-lines, 0):], "\n")
}

// close lets the folder go. The server must have ended.
func (d *dataDir) close() error {
	var errs []error
	if d.temp {
		errs = append(errs, os.RemoveAll(d.sockets))
	}
	for _, f := range []*os.File{d.held, d.lock} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	d.held, d.lock = nil, nil
	return errors.Join(errs...)
}
