package embedded

import (
	"log/slog"
	"time"
)

// Options say where the server lives. DataDir and Logger must be set.
type Options struct {
	// DataDir is the folder of everything the server has: it is made, and nothing else may be in it.
	DataDir string
	// BinDir is the folder of postgres and initdb; empty: found, else fetched.
	BinDir string
	Logger *slog.Logger
	// Settings are further settings of the server, "name=value"; they come last and so win.
	Settings []string
}

// The server's role and database.
const (
	roleName     = "tokiflow"
	databaseName = "tokiflow"
)

const (
	readyTimeout = time.Minute            // a start after a crash replays the write-ahead log
	pollReady    = 20 * time.Millisecond  //
	restartMin   = 100 * time.Millisecond // waits between restarts of a server that dies
	restartMax   = 10 * time.Second
)
