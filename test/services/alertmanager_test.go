package services_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/test/services"
)

func TestAlertmanagerTakesAlertsAndSurvivesBeingKilled(t *testing.T) {
	am := services.Alertmanager(t, "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
	amtool := func(args ...string) string {
		t.Helper()
		said, err := services.Amtool(t, nil, append(args, "--alertmanager.url="+am.URL())...)
		if err != nil {
			t.Fatalf("amtool %s: %v\n%s", strings.Join(args, " "), err, said)
		}
		return said
	}
	id := strings.TrimSpace(amtool("silence", "add", "alertname=Watchdog", "--author=me", "--comment=test", "--duration=1h"))
	amtool("alert", "add", "Watchdog", "severity=none")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		said := amtool("alert", "query", "--silenced", "-o", "simple")
		if strings.Contains(said, "Watchdog") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the alert is not there: %s", said)
		}
	}
	at := am.URL()
	am.Restart() // which writes down the silence
	am.Kill()
	am.Restart()
	if am.URL() != at {
		t.Errorf("it moved from %s to %s", at, am.URL())
	}
	if said := amtool("silence", "query", "-q"); !strings.Contains(said, id) {
		t.Errorf("the silence %q is gone: %q", id, said)
	}
}
