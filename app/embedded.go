package app

import (
	"context"
	"path/filepath"

	"github.com/tokiflow/tokiflow/infra/pg/embedded"
)

func startEmbedded(ctx context.Context, o *Options) (*embedded.Server, error) {
	return embedded.Start(ctx, embedded.Options{
		DataDir: filepath.Join(o.DataDir, "postgres"), BinDir: o.PostgresBin, Logger: o.Logger,
	})
}
