package disklog

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// reserve sets blocks aside for a file. File systems that cannot are left to fail at the write.
func reserve(f *os.File, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return nil
		}
		return err
	}
}
