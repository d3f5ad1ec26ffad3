package models

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/encoding/protowire"
)

// Producer is what an exported file names as the program that wrote it.
const Producer = "genbench"

func tensorHeader(name string, dims []int, element ElemType) []byte {
	var b []byte
	for _, d := range dims {
		b = appendInt(b, tensorDims, d)
	}
	b = appendInt(b, tensorDataType, int(element))
	return appendString(b, tensorName, name)
}

// writtenTensor is an initializer whose values are written last.
type writtenTensor struct {
	header []byte
	bytes  int
}

func (t writtenTensor) size() int { return len(t.header) + fieldSize(tensorRawData, t.bytes) }

// appendTo writes all but the values and gives their place.
func (t writtenTensor) appendTo(b []byte) (all, raw []byte) {
	b = protowire.AppendTag(b, graphInitializer, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(t.size()))
	b = append(b, t.header...)
	b = protowire.AppendTag(b, tensorRawData, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(t.bytes))
	end := len(b) + t.bytes
	return b[:end], b[len(b):end]
}

// stored gives the initializers of a parameter: its values and, for an 8-bit kernel,
// their scales.
func (g *onnxGraph) stored(p exportedParam) []writtenTensor {
	if p.rounded != "" {
		scales := g.precision.WeightScales(p.Shape)
		dims := []int{scales}
		if g.precision == FP8 {
			dims = nil // a scalar
		}
		return []writtenTensor{
			{tensorHeader(p.rounded, p.Shape, g.roundedElement()), p.Shape.Elements()},
			{tensorHeader(p.scales, dims, ElemFloat32), ElemFloat32.Size() * scales},
		}
	}
	return []writtenTensor{{tensorHeader(p.name, p.Shape, g.element), g.element.Size() * p.Shape.Elements()}}
}

// roundedElement is the type of the kernels of an 8-bit model.
func (g *onnxGraph) roundedElement() ElemType {
	if g.precision == FP8 {
		return ElemFloat8
	}
	return ElemInt8
}

// weightPlace is where the values of a parameter go.
type weightPlace struct {
	param   Param
	element ElemType
	raw     []byte
	scales  []byte // of an 8-bit kernel
}

// layOut writes everything but the weights' values, into memory allocated once.
func (g *onnxGraph) layOut() ([]byte, []weightPlace, error) {
	stored := make([][]writtenTensor, len(g.params))
	graphSize := len(g.nodes) + len(g.constants)
	for i, p := range g.params {
		stored[i] = g.stored(p)
		for _, t := range stored[i] {
			graphSize += fieldSize(graphInitializer, t.size())
		}
	}
	name := appendString(nil, graphName, g.network.Name)
	input := valueInfo(InputName, g.network.InputShape(g.batch), g.element)
	output := valueInfo(OutputName, g.shapes[len(g.shapes)-1], g.element)
	graphSize += len(name) + fieldSize(graphInput, len(input)) + fieldSize(graphOutput, len(output))

	version := g.precision.version()
	head := appendInt(nil, modelIRVersion, version.ir)
	head = appendString(head, modelProducer, Producer)
	tail := appendMessage(nil, modelOpsetImport, appendInt(nil, opsetVersion, version.opset))
	size := len(head) + fieldSize(modelGraph, graphSize) + len(tail)
	if size > math.MaxInt32 {
		return nil, nil, fmt.Errorf("the file would have %d bytes, protobuf ends at %d", size, math.MaxInt32)
	}

	b := make([]byte, 0, size)
	b = append(b, head...)
	b = protowire.AppendTag(b, modelGraph, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(graphSize))
	b = append(b, g.nodes...)
	b = append(b, name...)
	places := make([]weightPlace, len(g.params))
	for i, p := range g.params {
		place := weightPlace{param: p.Param, element: g.element}
		b, place.raw = stored[i][0].appendTo(b)
		if p.rounded != "" {
			place.element = g.roundedElement()
			b, place.scales = stored[i][1].appendTo(b)
		}
		places[i] = place
	}
	b = append(b, g.constants...)
	b = appendMessage(b, graphInput, input)
	b = appendMessage(b, graphOutput, output)
	b = append(b, tail...)
	if len(b) != size {
		return nil, nil, fmt.Errorf("wrote %d bytes where %d were counted", len(b), size)
	}
	return b, places, nil
}

// writeWeights loads every parameter straight to its place, on all CPUs. The
// largest go first: they decide when the last worker is done.
func writeWeights(source WeightSource, places []weightPlace) error {
	order := slices.Clone(places)
	slices.SortStableFunc(order, func(a, b weightPlace) int { return b.param.Shape.Elements() - a.param.Shape.Elements() })
	var next atomic.Int64
	var wg sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), len(order))
	errs := make([]error, workers)
	for w := range workers {
		wg.Go(func() {
			var scratch []float32
			for {
				i := int(next.Add(1)) - 1
				if i >= len(order) {
					return
				}
				p := order[i]
				elements := p.param.Shape.Elements()
				if scratch == nil { // none of the later ones is larger
					scratch = make([]float32, elements)
				}
				values := scratch[:elements]
				if err := source.Load(p.param, values); err != nil {
					errs[w] = err
					return
				}
				if err := p.write(values); err != nil {
					errs[w] = err
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// write rounds values to the element type of their place, which must hold them.
func (p weightPlace) write(values []float32) error {
	for k, v := range values {
		if !(v >= -math.MaxFloat32 && v <= math.MaxFloat32) {
			return fmt.Errorf("weight %s: element %d is %v, want a number", p.param.Key, k, v)
		}
	}
	switch p.element {
	case ElemFloat16:
		for k, v := range values {
			h := fp16(v)
			if h&0x7FFF == 0x7C00 {
				return fmt.Errorf("weight %s: element %d is %v, fp16 ends at 65504", p.param.Key, k, v)
			}
			binary.LittleEndian.PutUint16(p.raw[2*k:], h)
		}
	case ElemBFloat16:
		for k, v := range values {
			h := bf16(v)
			if h&0x7FFF == 0x7F80 {
				return fmt.Errorf("weight %s: element %d is %v, bf16 ends at 3.3895314e+38", p.param.Key, k, v)
			}
			binary.LittleEndian.PutUint16(p.raw[2*k:], h)
		}
	case ElemInt8, ElemFloat8:
		precision := INT8
		if p.element == ElemFloat8 {
			precision = FP8
		}
		scales := make([]float32, len(p.scales)/4)
		if err := QuantizeWeight(precision, p.raw, scales, values); err != nil {
			return fmt.Errorf("weight %s: %w", p.param.Key, err)
		}
		for k, v := range scales {
			binary.LittleEndian.PutUint32(p.scales[4*k:], math.Float32bits(v))
		}
	default:
		for k, v := range values {
			binary.LittleEndian.PutUint32(p.raw[4*k:], math.Float32bits(v))
		}
	}
	return nil
}

func valueInfo(name string, shape Shape, element ElemType) []byte {
	var dims []byte
	for _, d := range shape {
		dims = appendMessage(dims, shapeDim, appendInt(nil, dimValue, d))
	}
	tensor := appendInt(nil, tensorTypeElem, int(element))
	tensor = appendMessage(tensor, tensorTypeShape, dims)
	b := appendString(nil, valueName, name)
	return appendMessage(b, valueType, appendMessage(nil, typeTensor, tensor))
}
