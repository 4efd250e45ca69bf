package samples

import "time"

// packWindow is the length of time of which samples of a series are packed together.
const packWindow = 2 * time.Hour
