// Package fault breaks a running Tokiflow on purpose, at random moments and under load, and then holds it to its promises:
// every ping that was answered is stored once; runs, transitions and incidents are those of an undisturbed replay of the
// same log; nobody who kept pinging has an incident; every incident was told. Run it with make test-fault.
package fault
