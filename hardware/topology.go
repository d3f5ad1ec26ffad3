package hardware

import (
	"fmt"
	"slices"
)

// A topology says which CPUs share a core and how many sockets there are.
type topology struct {
	online  []int   // logical CPUs
	cores   [][]int // online CPUs that share a core, each core once
	sockets []int   // the first online CPU of each
	// incomplete is why cores and sockets are not known although online is.
	incomplete error
}

func readTopology(t tree) (topology, error) {
	online, err := t.cpuList("sys/devices/system/cpu/online")
	if err != nil {
		return topology{}, err
	}
	found := topology{online: online}
	packages, counted := map[int64]bool{}, map[int]bool{}
	for _, cpu := range online {
		dir := fmt.Sprintf("sys/devices/system/cpu/cpu%d/topology/", cpu)
		siblings, err := t.cpuList(dir + "thread_siblings_list")
		if err != nil {
			return topology{online: online, incomplete: err}, nil
		}
		socket, err := t.integer(dir + "physical_package_id")
		if err != nil {
			return topology{online: online, incomplete: err}, nil
		}
		if !packages[socket] {
			packages[socket] = true
			found.sockets = append(found.sockets, cpu)
		}
		if !counted[siblings[0]] {
			counted[siblings[0]] = true
			found.cores = append(found.cores, siblings)
		}
	}
	return found, nil
}

// shared lists the cores of which the given CPUs include more than one thread.
func (p topology) shared(cpus []int) [][]int {
	var shared [][]int
	for _, core := range p.cores {
		if held := intersect(core, cpus); len(held) > 1 {
			shared = append(shared, held)
		}
	}
	return shared
}

// coresFirst orders CPUs so that threads on the first of them share as little as
// they can: one CPU of each core, then the second of each, and so on. CPUs of
// unknown cores keep their order.
func (p topology) coresFirst(cpus []int) []int {
	var ordered []int
	for rank := 0; len(ordered) < len(cpus); rank++ {
		before := len(ordered)
		for _, core := range p.cores {
			if held := intersect(core, cpus); rank < len(held) {
				ordered = append(ordered, held[rank])
			}
		}
		if len(ordered) == before {
			return append(ordered, slices.DeleteFunc(slices.Clone(cpus), func(cpu int) bool { return slices.Contains(ordered, cpu) })...)
		}
	}
	return ordered
}

// intersect keeps those of a that are in b, too.
func intersect(a, b []int) []int {
	return slices.DeleteFunc(slices.Clone(a), func(cpu int) bool { return !slices.Contains(b, cpu) })
}
