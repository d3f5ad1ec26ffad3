package reference

import (
	"sync"
	"sync/atomic"
)

// A crew splits a step into tasks for at most so many goroutines. A task writes
// only what is its own and computes it in one fixed order, so the result does not
// depend on how many there are.
type crew struct {
	threads int
	need    int         // elements of scratch that the hungriest step asked for
	scratch [][]float32 // one per goroutine
}

// reserve asks for scratch while steps are compiled.
func (c *crew) reserve(elements int) { c.need = max(c.need, elements) }

// allocate makes the scratch, after all steps have reserved theirs.
func (c *crew) allocate() {
	c.scratch = make([][]float32, c.threads)
	for i := range c.scratch {
		c.scratch[i] = make([]float32, c.need)
	}
}

// each runs the tasks 0 ≤ i < tasks and returns when all are done.
func (c *crew) each(tasks int, do func(task int, scratch []float32)) {
	var next atomic.Int64
	work := func(scratch []float32) {
		for i := int(next.Add(1)) - 1; i < tasks; i = int(next.Add(1)) - 1 {
			do(i, scratch)
		}
	}
	var helpers sync.WaitGroup
	for _, scratch := range c.scratch[1:min(len(c.scratch), max(tasks, 1))] {
		helpers.Go(func() { work(scratch) })
	}
	work(c.scratch[0])
	helpers.Wait()
}

// grain is how many elements of an element-wise step one task takes: some tens of
// microseconds, against about one for starting a goroutine.
const grain = 1 << 14

// spans runs do over consecutive parts of 0 ≤ i < n.
func (c *crew) spans(n int, do func(from, to int)) {
	c.each((n+grain-1)/grain, func(task int, _ []float32) {
		do(task*grain, min(n, (task+1)*grain))
	})
}
