package config_test

import (
	"os"
	"testing"

	"github.com/tokiflow/tokiflow/alerting/config"
)

func TestMain(m *testing.M) {
	config.UTF8()
	os.Exit(m.Run())
}
