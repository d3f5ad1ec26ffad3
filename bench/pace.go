package bench

import "time"

// A pace estimates the time left from what visits took so far.
type pace struct {
	guess       map[Point]time.Duration // of one visit
	took        map[Point]time.Duration // of the last visit
	owed        map[Point]int           // visits still to come
	done, total int
}

func newPace(p *Plan) pace {
	visits := p.Config.Protocol.Launches * p.Config.Protocol.Rounds
	pc := pace{guess: map[Point]time.Duration{}, took: map[Point]time.Duration{}, owed: map[Point]int{}}
	for _, point := range p.Points {
		if point.Skip == "" {
			pc.guess[point.Point] = time.Duration(point.PlannedSeconds / float64(visits) * float64(time.Second))
			pc.owed[point.Point] = visits
			pc.total += visits
		}
	}
	return pc
}

func (p *pace) visited(point Point, took time.Duration) {
	p.took[point] = took
	p.owed[point]--
	p.done++
}

// again owes once more a visit that was made.
func (p *pace) again(point Point) {
	p.owed[point]++
	p.done--
}

// extend adds visits that were not planned (S5).
func (p *pace) extend(visits []Visit) {
	for _, v := range visits {
		p.owed[v.Point]++
		p.total++
	}
}

// drop forgets the visits a failed point still owed.
func (p *pace) drop(point Point) {
	p.total -= p.owed[point]
	p.owed[point] = 0
}

// left adds up what visits took where that is known, and guesses corrected by how
// wrong they were so far where it is not.
func (p *pace) left() time.Duration {
	var took, guessed time.Duration
	for point, t := range p.took {
		took += t
		guessed += p.guess[point]
	}
	correction := 1.0
	if guessed > 0 {
		correction = float64(took) / float64(guessed)
	}
	var left time.Duration
	for point, n := range p.owed {
		each, known := p.took[point]
		if !known {
			each = time.Duration(correction * float64(p.guess[point]))
		}
		left += time.Duration(n) * each
	}
	return left
}

// past strikes off a visit that an earlier part of the run made; how long it took is
// not known.
func (p *pace) past(point Point, added bool) {
	if added {
		p.total++
	} else {
		p.owed[point]--
	}
	p.done++
}
