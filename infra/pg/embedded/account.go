//go:build unix

package embedded

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// Account is the user as whom the server programs run, because PostgreSQL refuses to run as root. A nil Account is the
// process's own user.
type Account struct {
	Name string
	UID  uint32
	GID  uint32
}

// ServerAccount chooses the user: none if the process is not root, else postgres, else nobody.
func ServerAccount() (*Account, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // nil is the process's own user
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &Account{Name: name, UID: uint32(uid), GID: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it as: " +
		"make one, run tokiflow as an ordinary user, or name a server with --database-url")
}

// Run makes cmd run as the account.
func (a *Account) Run(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if a != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.UID, Gid: a.GID}
	}
	// The caller's own folder may be closed to the account, and PostgreSQL insists on knowing where it is.
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
}

// Own gives path, without what is in it, to the account.
func (a *Account) Own(path string) error {
	if a == nil {
		return nil
	}
	return os.Chown(path, int(a.UID), int(a.GID))
}

// CanReach reports, as an error that names the folder and the remedy, when a folder above path cannot be entered by the
// account.
func (a *Account) CanReach(path string) error {
	if a == nil {
		return nil
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		cmd := exec.Command("/bin/sh", "-c", `test -x "$1"`, "sh", dir) //nolint:noctx,gosec // a test(1) of one folder, which is an argument and not the script
		a.Run(cmd)
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("PostgreSQL runs as user %s, who cannot enter %s: "+
				"`chmod o+x %s`, or choose another --data-dir", a.Name, dir, dir)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// canExecute reports, as an error that says what to do, when the account cannot run the server programs.
func (a *Account) canExecute(dir string) error {
	if a == nil {
		return nil
	}
	cmd := exec.Command(filepath.Join(dir, "postgres"), "--version") //nolint:gosec,noctx // immediate
	a.Run(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("PostgreSQL runs as user %s, who cannot run the programs in %s: %w: %s; "+
			"make the folders above it passable (chmod o+x) or choose another --postgres-bin", a.Name, dir, err, out)
	}
	return nil
}
