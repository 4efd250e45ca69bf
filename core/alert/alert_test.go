package alert_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/alert"
)

func TestMessageID(t *testing.T) {
	incident := uuid.MustParse("0b9c3f5e-3c43-5d1e-8f6a-3d1e9d2c4b5a")
	first := alert.Delivery{ID: 1, Outbox: 7, Incident: incident, Receiver: "a", Attempt: 1}
	again := alert.Delivery{ID: 2, Outbox: 7, Incident: incident, Receiver: "b", Attempt: 9}
	if got, want := first.MessageID(), "msg_0b9c3f5e-3c43-5d1e-8f6a-3d1e9d2c4b5a_7"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if first.MessageID() != again.MessageID() {
		t.Error("the id changed between receivers or attempts")
	}
	if strings.Contains(first.MessageID(), ".") {
		t.Error("a full stop in the id blurs what is signed")
	}
	for _, other := range []alert.Delivery{{Outbox: 8, Incident: incident}, {Outbox: 7, Incident: uuid.New()}} {
		if other.MessageID() == first.MessageID() {
			t.Errorf("%+v has the same id", other)
		}
	}
}

func TestTaken(t *testing.T) {
	if !(alert.Attempt{StatusCode: 204}).Taken() {
		t.Error("an attempt without an error was taken")
	}
	if (alert.Attempt{StatusCode: 500, Error: "answered 500"}).Taken() {
		t.Error("an attempt with an error was not taken")
	}
}
