//go:build !unix

package embedded

import (
	"context"
	"errors"
)

// Server is a running private PostgreSQL. There is none on this system.
type Server struct{}

// Start says that this system is not one of those on which tokiflow runs PostgreSQL by itself.
func Start(context.Context, Options) (*Server, error) {
	return nil, errors.New("tokiflow runs a PostgreSQL of its own on Unix systems only: name a server with --database-url")
}

// URL is empty.
func (*Server) URL() string { return "" }

// Stop does nothing.
func (*Server) Stop(context.Context) error { return nil }
