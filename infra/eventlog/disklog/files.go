package disklog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/hashicorp/raft-wal/types"
)

// osFiles is the file system as the segment library sees it. It differs from the library's own in that a file opened
// for writing after a crash is synced before anything in it counts, and its folder with it.
type osFiles struct{}

var _ types.VFS = osFiles{}

// ListDir returns the names of the files in dir, in order.
func (osFiles) ListDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Create makes a new file and reserves size bytes for it, so that a full disk is met here and not in mid-write.
func (osFiles) Create(dir, name string, size uint64) (types.WritableFile, error) {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600) //nolint:gosec // a path of our own making
	if err != nil {
		return nil, err
	}
	if err := reserve(f, int64(size)); err != nil {
		return nil, errors.Join(fmt.Errorf("reserving %d bytes for %s: %w", size, path, err), f.Close(), os.Remove(path))
	}
	return &file{File: f, dir: dir}, nil
}

// Delete removes a file for good.
func (osFiles) Delete(dir, name string) error {
	if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return syncDir(dir)
}

// OpenReader opens a file for reading.
func (osFiles) OpenReader(dir, name string) (types.ReadableFile, error) {
	return os.Open(filepath.Join(dir, name)) //nolint:gosec // a path of our own making
}

// OpenWriter opens an existing file for writing, durable as it stands.
func (osFiles) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0) //nolint:gosec // a path of our own making
	if err != nil {
		return nil, err
	}
	w := &file{File: f, dir: dir}
	if err := w.Sync(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return w, nil
}

// file syncs its folder with its first sync: until then a power loss may forget that it exists.
type file struct {
	*os.File
	dir   string
	named atomic.Bool
}

// Sync makes the file and its name durable.
func (f *file) Sync() error {
	if err := f.File.Sync(); err != nil {
		return err
	}
	if f.named.Load() {
		return nil
	}
	if err := syncDir(f.dir); err != nil {
		return err
	}
	f.named.Store(true)
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // a path of our own making
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// writeFile replaces a file's content, durably and whole or not at all.
func writeFile(path string, data []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) //nolint:gosec // a path of our own making
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// truncate cuts a file, durably.
func truncate(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0) //nolint:gosec // a path of our own making
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Sync(), f.Close())
}
