package config_test

import (
	"os"
	"testing"

	"github.com/tokiflow/tokiflow/alerting/config"
)

func TestTheExampleOfTheDocumentationIsGood(t *testing.T) {
	t.Parallel()
	s, err := config.ReadFiles("../../docs/examples/alerting.yml", os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(s, options())
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Templates) != 1 || c.Receivers(map[string]string{"severity": "critical"})[0] != "pager" {
		t.Errorf("%v", c.Templates)
	}
}
