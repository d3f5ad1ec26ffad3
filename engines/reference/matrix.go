package reference

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"

	"genbench/models"
)

// The sizes of one multiplication handed to gonum. It starts goroutines of its own
// for products of four 64×64 blocks and more, which would not heed the session's
// threads; 64×192 is the most it does in the calling one. The depth keeps the
// block of the right matrix, 96 KiB, in a second-level cache.
const (
	tileRows    = 64
	tileColumns = 192
	tileDepth   = 128
)

// multiply adds A·B to C, where A is rows×depth, B is depth×columns, or
// columns×depth where transposed, and columns ≤ tileColumns.
func multiply(rows, columns, depth int, a []float32, lda int, b []float32, ldb int, transposed blas.Transpose, c []float32, ldc int) {
	for k := 0; k < depth; k += tileDepth {
		from := k * ldb
		if transposed == blas.Trans {
			from = k
		}
		for i := 0; i < rows; i += tileRows {
			gonum.Implementation{}.Sgemm(blas.NoTrans, transposed,
				min(tileRows, rows-i), columns, min(tileDepth, depth-k),
				1, a[i*lda+k:], lda, b[from:], ldb, 1, c[i*ldc:], ldc)
		}
	}
}

// convolution unrolls the windows of a tile of output pixels into a matrix and
// multiplies the kernels with it. A pointwise convolution's input is that matrix
// already.
func convolution(c *crew, op models.Conv, in models.Tensor, kernel, bias []float32, out models.Tensor) func() {
	g := window{op: op, h: in.Shape[2], w: in.Shape[3], ow: out.Shape[3]}
	images, plane, pixels := in.Shape[0], g.h*g.w, planeOf(out.Shape)
	inGroup, outGroup := op.In/op.Groups, op.Out/op.Groups
	depth := inGroup * op.KernelH * op.KernelW
	pointwise := op.KernelH == 1 && op.KernelW == 1 && op.Stride == 1 && op.PadH == 0 && op.PadW == 0
	if !pointwise {
		c.reserve(depth * min(tileColumns, pixels))
	}
	tiles := (pixels + tileColumns - 1) / tileColumns
	// Late layers have few pixels: there the kernels are shared out as well, at the
	// price of unrolling the same windows in several threads.
	bands := 1
	if tasks := images * op.Groups * tiles; tasks < c.threads {
		bands = min((c.threads+tasks-1)/tasks, outGroup)
	}
	band := (outGroup + bands - 1) / bands

	return func() {
		c.each(images*op.Groups*tiles*bands, func(task int, scratch []float32) {
			part, tile := task%bands, task/bands%tiles
			group, image := task/bands/tiles%op.Groups, task/bands/tiles/op.Groups
			first := group*outGroup + part*band
			rows := min(band, (group+1)*outGroup-first)
			if rows <= 0 {
				return
			}
			from := tile * tileColumns
			columns := min(tileColumns, pixels-from)
			x := in.Data[(image*op.In+group*inGroup)*plane:][:inGroup*plane]
			y := out.Data[(image*op.Out+first)*pixels+from:]
			for r := range rows {
				row := y[r*pixels : r*pixels+columns]
				if bias == nil {
					clear(row)
					continue
				}
				for i := range row {
					row[i] = bias[first+r]
				}
			}
			a := kernel[first*depth:]
			if pointwise {
				multiply(rows, columns, depth, a, depth, x[from:], plane, blas.NoTrans, y, pixels)
				return
			}
			matrix := scratch[:depth*columns]
			g.unroll(x, from, columns, matrix)
			multiply(rows, columns, depth, a, depth, matrix, columns, blas.NoTrans, y, pixels)
		})
	}
}

// window is the geometry of a convolution.
type window struct {
	op   models.Conv
	h, w int // of the input
	ow   int // of the output
}

// unroll fills a matrix that has a row for each input channel and kernel cell and
// a column for each of the output pixels from, from+1, …; padding is 0.
func (g window) unroll(x []float32, from, columns int, matrix []float32) {
	op := g.op
	for plane := x; len(plane) > 0; plane = plane[g.h*g.w:] {
		for kh := range op.KernelH {
			for kw := range op.KernelW {
				row := matrix[:columns]
				matrix = matrix[columns:]
				for i := 0; i < columns; {
					oy, ox := (from+i)/g.ow, (from+i)%g.ow
					n := min(columns-i, g.ow-ox) // pixels in this line of the output
					iy := oy*op.Stride - op.PadH + kh*op.Dilation
					line := row[i : i+n]
					i += n
					if iy < 0 || iy >= g.h {
						clear(line)
						continue
					}
					source := plane[iy*g.w : (iy+1)*g.w]
					ix := ox*op.Stride - op.PadW + kw*op.Dilation
					for k := range line {
						if 0 <= ix && ix < g.w {
							line[k] = source[ix]
						} else {
							line[k] = 0
						}
						ix += op.Stride
					}
				}
			}
		}
	}
}

// depthwise convolves each input channel on its own, into one or more outputs.
func depthwise(c *crew, op models.Conv, in models.Tensor, kernel, bias []float32, out models.Tensor) func() {
	h, w, oh, ow := in.Shape[2], in.Shape[3], out.Shape[2], out.Shape[3]
	each := op.Out / op.In // output channels per input channel
	cells := op.KernelH * op.KernelW
	return func() {
		c.each(out.Shape[0]*op.Out, func(task int, _ []float32) {
			image, channel := task/op.Out, task%op.Out
			x := in.Data[(image*op.In+channel/each)*h*w:][:h*w]
			y := out.Data[task*oh*ow : (task+1)*oh*ow]
			k := kernel[channel*cells : (channel+1)*cells]
			var start float32
			if bias != nil {
				start = bias[channel]
			}
			for i := range y {
				y[i] = start
			}
			for kh := range op.KernelH {
				for kw := range op.KernelW {
					weight := k[kh*op.KernelW+kw]
					// The outputs whose window has this cell inside the input.
					j0, j1 := inside(kw*op.Dilation-op.PadW, op.Stride, w, ow)
					i0, i1 := inside(kh*op.Dilation-op.PadH, op.Stride, h, oh)
					for i := i0; i < i1; i++ {
						source := x[(i*op.Stride-op.PadH+kh*op.Dilation)*w:][:w]
						line := y[i*ow : (i+1)*ow]
						at := j0*op.Stride - op.PadW + kw*op.Dilation
						for j := j0; j < j1; j++ {
							line[j] += float32(weight * source[at])
							at += op.Stride
						}
					}
				}
			}
		})
	}
}

// inside gives the outputs from ≤ o < to, of n, for which offset + o·stride lies
// in 0 … extent-1.
func inside(offset, stride, extent, n int) (from, to int) {
	if offset < 0 {
		from = (-offset + stride - 1) / stride
	}
	if last := extent - 1 - offset; last >= 0 {
		to = min(n, last/stride+1)
	}
	return from, to
}

// linear multiplies tiles of images with tiles of the weights.
func linear(c *crew, op models.Linear, in models.Tensor, weight, bias []float32, out models.Tensor) func() {
	images := in.Shape[0]
	tiles := (op.Out + tileColumns - 1) / tileColumns
	return func() {
		c.each(tiles, func(tile int, _ []float32) {
			from := tile * tileColumns
			columns := min(tileColumns, op.Out-from)
			for image := range images {
				row := out.Data[image*op.Out+from:][:columns]
				if bias == nil {
					clear(row)
				} else {
					copy(row, bias[from:])
				}
			}
			multiply(images, columns, op.In, in.Data, op.In, weight[from*op.In:], op.In, blas.Trans, out.Data[from:], op.Out)
		})
	}
}
