package embedded

import (
	"runtime"
	"syscall"
)

// dieWithParent has the kernel ask the server for a fast shutdown when the thread that started it ends, as it does when
// this process is killed.
func dieWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGINT }

// keepThread runs f on a thread that lives as long as f.
func keepThread(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	f()
}
