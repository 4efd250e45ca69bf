// Package alertmanager holds the tests that a real Alertmanager, its amtool and its own acceptance tests take part in.
//
// Alertmanager's tests drive a program named alertmanager. They are run as they are, compiled within a copy of their own module
// (test/services/alertmanager.sh), and the program that they drive is the adapter in the folder below.
package alertmanager
