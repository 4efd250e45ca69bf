//go:build unix && !linux

package embedded

import "syscall"

// dieWithParent does nothing: no kernel but Linux offers it.
func dieWithParent(*syscall.SysProcAttr) {}

func keepThread(f func()) { f() }
