package inventory

// Figures are counts of the whole installation, for its operator; nothing in them is one organisation's.
type Figures struct {
	Organisations  int64
	OutboxWaiting  int64 // messages about incidents that are not on their way to receivers
	ChangesWaiting int64 // of monitors, that are not in the log
}
