// Package schedule knows when a run is due: fixed intervals and cron expressions in IANA time zones, right over daylight
// saving time. It is pure: no clock, no I/O but Go's time zone data.
//
// # Cron expressions
//
// Five fields, parted by spaces or tabs: minute (0-59), hour (0-23), day of month (1-31), month (1-12 or jan-dec), day of
// week (0-7 or sun-sat; 0 and 7 are Sunday). Letters in any case. A field is a list, parted by commas, of
//
//	a          one value
//	*          every value
//	a-b        a range; it does not wrap (22-2 is refused: Debian's cron takes it and never runs)
//	*/n a-b/n  every n-th value of the range, from its first
//	a/n        every n-th value from a to the end of the field (in the day of week to Saturday)
//	L          in the day of month: the last day of the month
//	5L friL    in the day of week: the last Friday of the month
//	5#2 fri#2  in the day of week: the second Friday of the month; 1 to 5
//
// or the whole is one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually. Everything Debian's cron accepts
// means here what it means there, with three exceptions that are refused because cron takes them and silently does
// something else: ranges that run backwards, characters after a value (5#3 is 5 to cron; here it is the third Friday), and
// @reboot, which has no due moment.
//
// Where the day of month and the day of week are both restricted, a day that fits either is meant. Where one of them begins
// with a star (so also */2), a day must fit both.
//
// # Changes of the clock
//
// A schedule is due when Debian's cron (3.0pl1) in that zone would start the job. What kind of job it is decides the first
// character of its minute and hour fields: with a star in either it follows the wall clock, else it runs at fixed times.
//
//   - The clock jumps forward by less than three hours: the fixed times that were skipped are due at the first instant after
//     the jump, once however many they were; wall-clock jobs just go on, the skipped times are not due.
//   - The clock goes back by three hours or less: a fixed time in the repeated stretch is due at its first occurrence only;
//     wall-clock jobs are due in both.
//   - Anything larger is a correction of the clock, not daylight saving time: all jobs follow the new time at once. So no job is due on
//     Pacific/Apia's 30 December 2011, which did not exist, nor is it made up for on the 31st.
//
// One deviation: cron also makes up for wall-clock jobs when the clock skips fewer than five minutes, which it cannot tell
// from having woken late. No zone has done so since 1970.
package schedule
