package store_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// systemQueries are of no one organisation: they serve the whole installation, or come before the organisation is known.
// Whoever adds one says why.
func systemQueries() map[string]string {
	return map[string]string{
		"BootstrapLock":          "a lock, no table",
		"OldestOrganisation":     "the first start",
		"InsertOrganisation":     "the first start",
		"Organisation":           "the table of organisations itself, by id",
		"LockAPIKeys":            "a lock, of the table of organisations itself, by id",
		"APIKeyByHash":           "this is what finds the organisation",
		"AllProjectKeys":         "ingest serves all organisations; each row carries its own",
		"AllTargets":             "ingest serves all organisations; each row carries its own",
		"TargetOf":               "ingest serves all organisations; each row carries its own",
		"NotifyTarget":           "a notice, no table",
		"LockSlug":               "a lock, no table",
		"QueuedMonitors":         "the log serves all organisations; each row carries its own",
		"LockControls":           "a lock, no table",
		"TryLockControls":        "a lock, no table",
		"QueuedControls":         "the log serves all organisations; each row carries its own",
		"DeleteControls":         "removes rows just read by QueuedControls",
		"FanOut":                 "the relay serves all organisations; each row carries its own",
		"LockDueDeliveries":      "the relay serves all organisations; each row carries its own",
		"ClaimDeliveries":        "the relay serves all organisations; each row carries its own",
		"Backlogs":               "figures of the process: counts by receiver, nothing of a tenant",
		"ClaimForwards":          "workers serve all organisations; each row carries its own",
		"RenewForwards":          "workers serve all organisations; each row carries its own",
		"ClaimRuleGroups":        "rules are evaluated for all organisations; each row carries its own",
		"PushBeat":               "one row of the installation, nothing of a tenant",
		"ClaimPushBeat":          "one row of the installation, nothing of a tenant",
		"NextPushExpiry":         "a time, nothing of a tenant",
		"LockStandingPushGroups": "what was pushed is kept standing for all organisations; each row carries its own",
		"LockExpiredPushGroups":  "what was pushed expires for all organisations; each row carries its own",
		"SlackTeam":              "this is what finds the organisations of a workspace; each row carries its own",
		"RevokeSlackTeam":        "a workspace that revoked the app revoked it for every organisation",
		"PruneSlackStates":       "removes what has expired, of whomever it was",
		"SeeSlackRequest":        "requests of Slack: no organisation is known yet, nothing of a tenant is kept",
		"PruneSlackRequests":     "removes what has expired, nothing of a tenant",
		"PruneDiscordStates":     "removes what has expired, of whomever it was",
		"LockRecipients":         "a lock, of the table of organisations itself, by id",
		"ClaimRecipients":        "what is due is mailed for all organisations; each row carries its own",
		"ExpireHeld":             "what was kept expires for all organisations; each row carries its own",
		"PruneOutbox":            "removes what every receiver has taken, of whomever it was",
		"NotifyAlerting":         "a notice, no table",
		"BusyAlerting":           "the owners of all organisations; each row carries its own",
		"AlertingVersions":       "the owners of all organisations; each row carries its own",
		"LockFeed":               "a lock, no table",
		"UnfedOutbox":            "the feeder serves all organisations; each row carries its own",
		"MarkFed":                "marks rows just read by UnfedOutbox",
		"OldestUnfed":            "a time, nothing of a tenant",
		"ProjectsOfMonitors":     "the feeder serves all organisations; each row carries its own",
		"AcknowledgedIncidents":  "the feeder serves all organisations; each row carries its own",
		"PruneAlerts":            "removes what is long over, of whomever it was",
		"PruneSilences":          "removes what has expired, of whomever it was",
		"PruneNotificationLog":   "removes what has expired, of whomever it was",
		"PruneNotifications":     "removes what is old, of whomever it was",
		"AddGuardPings":          "the guard watches the whole installation: sums, nothing of a tenant",
		"StartGuard":             "the guard watches the whole installation: sums, nothing of a tenant",
		"LockGuard":              "the guard watches the whole installation: sums, nothing of a tenant",
		"GuardState":             "the guard watches the whole installation: sums, nothing of a tenant",
		"GuardMinute":            "the guard watches the whole installation: sums, nothing of a tenant",
		"GuardDays":              "the guard watches the whole installation: sums, nothing of a tenant",
		"GuardHour":              "the guard watches the whole installation: sums, nothing of a tenant",
		"SaveGuardMinute":        "the guard watches the whole installation: sums, nothing of a tenant",
		"BelieveGuardMinutes":    "the guard watches the whole installation: sums, nothing of a tenant",
		"SaveGuardState":         "the guard watches the whole installation: sums, nothing of a tenant",
		"PruneGuardCounts":       "the guard watches the whole installation: sums, nothing of a tenant",
		"PruneGuardMinutes":      "the guard watches the whole installation: sums, nothing of a tenant",
		"LockMaintenance":        "a lock, no table",
		"NotifyMaintenance":      "a notice, no table",
		"TryLockMaintenanceTurn": "a lock, no table",
		"DueMaintenanceWindows":  "windows are planned for all organisations; each row carries its own",
		"UntoldOccurrences":      "silences are made for all organisations; each row carries its own",
		"LockDependencies":       "a lock, no table",
	}
}

// TestEveryQueryNamesTheOrganisation is the same rule as that of `sqlc vet` (sqlc.yaml), where sqlc is not at hand, and
// holds the exceptions to a list.
func TestEveryQueryNamesTheOrganisation(t *testing.T) {
	files, err := filepath.Glob("sql/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("no queries found: %v", err)
	}
	bound := regexp.MustCompile(`(?is)\borg_id\s*=\s*@org_id\b|insert\s+into\s+\w+\s*\([^)]*\borg_id\b`)
	var excepted []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range strings.Split(string(text), "-- name: ")[1:] {
			name, body, _ := strings.Cut(q, " ")
			if strings.Contains(q, "@sqlc-vet-disable tenant") {
				excepted = append(excepted, name)
				continue
			}
			if !bound.MatchString(body) {
				t.Errorf("%s: %s names no organisation (org_id = @org_id)", file, name)
			}
			for _, join := range regexp.MustCompile(`(?i)\bjoin\s+(\w+)\s+(\w+)\s+on\b`).FindAllStringSubmatch(body, -1) {
				if !strings.Contains(body, join[2]+".org_id = ") {
					t.Errorf("%s: %s joins %s without its org_id", file, name, join[1])
				}
			}
		}
	}
	allowed := systemQueries()
	for _, name := range excepted {
		if allowed[name] == "" {
			t.Errorf("%s is excepted from the rule, but not in the list: say why", name)
		}
		delete(allowed, name)
	}
	for name := range allowed {
		t.Errorf("%s is in the list of exceptions, but not excepted: remove it", name)
	}
}
