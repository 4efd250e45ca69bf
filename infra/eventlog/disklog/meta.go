package disklog

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/hashicorp/raft-wal/types"
)

// identity is the content of log.json: what a log's folder was made as.
type identity struct {
	Format     int    `json:"format"`
	ID         string `json:"id"`
	Partitions int    `json:"partitions"`
}

const format = 1

// loadIdentity reads log.json, or makes it for a folder that is none yet.
func loadIdentity(dir string, partitions int) (identity, error) {
	path := filepath.Join(dir, "log.json")
	b, err := os.ReadFile(path) //nolint:gosec // a path of our own making
	if errors.Is(err, os.ErrNotExist) {
		id := identity{Format: format, ID: uuid.NewString(), Partitions: max(partitions, 1)}
		if b, err = json.Marshal(id); err != nil {
			return identity{}, err
		}
		return id, writeFile(path, append(b, '\n'))
	}
	if err != nil {
		return identity{}, err
	}
	var id identity
	if err := json.Unmarshal(b, &id); err != nil || id.ID == "" || id.Partitions < 1 {
		return identity{}, fmt.Errorf("%w: %s is not readable (%w); take it from a backup", ErrCorrupt, path, err)
	}
	if id.Format != format {
		return identity{}, fmt.Errorf("%s is of format %d, this program knows %d: use the version of tokiflow that made it", path, id.Format, format)
	}
	if partitions != 0 && partitions != id.Partitions {
		return identity{}, fmt.Errorf("the log in %s was made with %d partitions and cannot be opened with %d: a monitor's records would move",
			dir, id.Partitions, partitions)
	}
	return id, nil
}

// loadSegments reads segments.json, the list of a partition's segment files: a line with the checksum, a line of JSON.
func loadSegments(dir string) (types.PersistentState, error) {
	var s types.PersistentState
	path := filepath.Join(dir, "segments.json")
	b, err := os.ReadFile(path) //nolint:gosec // a path of our own making
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	sum, body, _ := strings.Cut(string(b), "\n")
	want, err := strconv.ParseUint(sum, 16, 32)
	if err != nil || uint32(want) != crc32.Checksum([]byte(body), castagnoli()) {
		return s, fmt.Errorf("%w: the checksum of %s is wrong; take it from a backup", ErrCorrupt, path)
	}
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		return s, fmt.Errorf("%w: %s: %w", ErrCorrupt, path, err)
	}
	return s, nil
}

func saveSegments(dir string, s types.PersistentState) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	head := fmt.Sprintf("%08x\n", crc32.Checksum(b, castagnoli()))
	return writeFile(filepath.Join(dir, "segments.json"), append([]byte(head), b...))
}
