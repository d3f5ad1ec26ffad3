package models

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers from onnx/onnx.proto, the same in IR versions 8 (ONNX 1.12) and 10.
const (
	modelIRVersion   = 1
	modelProducer    = 2
	modelGraph       = 7
	modelOpsetImport = 8

	opsetDomain  = 1
	opsetVersion = 2

	graphNode        = 1
	graphName        = 2
	graphInitializer = 5
	graphInput       = 11
	graphOutput      = 12
	graphValue       = 13
	graphSparse      = 15

	nodeInput     = 1
	nodeOutput    = 2
	nodeName      = 3
	nodeOpType    = 4
	nodeAttribute = 5
	nodeDomain    = 7

	attributeName      = 1
	attributeFloat     = 2
	attributeInt       = 3
	attributeString    = 4
	attributeTensor    = 5
	attributeGraph     = 6
	attributeFloats    = 7
	attributeInts      = 8
	attributeGraphs    = 11
	attributeType      = 20
	attributeReference = 21

	attributeTypeFloat = 1
	attributeTypeInt   = 2
	attributeTypeInts  = 7

	tensorDims     = 1
	tensorDataType = 2
	tensorFloats   = 4
	tensorInt32s   = 5
	tensorStrings  = 6
	tensorInt64s   = 7
	tensorName     = 8
	tensorRawData  = 9
	tensorDoubles  = 10
	tensorUint64s  = 11
	tensorExternal = 13
	tensorLocation = 14

	entryKey   = 1
	entryValue = 2

	valueName       = 1
	valueType       = 2
	typeTensor      = 1
	tensorTypeElem  = 1
	tensorTypeShape = 2
	shapeDim        = 1
	dimValue        = 1
	dimParam        = 2
)

// ElemType is the type of a tensor's elements, with the numbers of onnx.proto's
// TensorProto.DataType.
type ElemType int

const (
	ElemFloat32  ElemType = 1
	ElemUint8    ElemType = 2
	ElemInt8     ElemType = 3
	ElemUint16   ElemType = 4
	ElemInt16    ElemType = 5
	ElemInt32    ElemType = 6
	ElemInt64    ElemType = 7
	ElemString   ElemType = 8
	ElemBool     ElemType = 9
	ElemFloat16  ElemType = 10
	ElemFloat64  ElemType = 11
	ElemUint32   ElemType = 12
	ElemUint64   ElemType = 13
	ElemBFloat16 ElemType = 16
	ElemFloat8   ElemType = 17 // FLOAT8E4M3FN
)

func (e ElemType) String() string {
	switch e {
	case ElemFloat32:
		return "float32"
	case ElemUint8:
		return "uint8"
	case ElemInt8:
		return "int8"
	case ElemUint16:
		return "uint16"
	case ElemInt16:
		return "int16"
	case ElemInt32:
		return "int32"
	case ElemInt64:
		return "int64"
	case ElemString:
		return "string"
	case ElemBool:
		return "bool"
	case ElemFloat16:
		return "float16"
	case ElemFloat64:
		return "float64"
	case ElemUint32:
		return "uint32"
	case ElemUint64:
		return "uint64"
	case ElemBFloat16:
		return "bfloat16"
	case ElemFloat8:
		return "float8e4m3fn"
	}
	return fmt.Sprintf("type %d", int(e))
}

// Size in bytes; 0 for strings and for types that are not whole bytes or that
// nothing here computes with.
func (e ElemType) Size() int {
	switch e {
	case ElemUint8, ElemInt8, ElemBool, ElemFloat8:
		return 1
	case ElemUint16, ElemInt16, ElemFloat16, ElemBFloat16:
		return 2
	case ElemFloat32, ElemInt32, ElemUint32:
		return 4
	case ElemFloat64, ElemInt64, ElemUint64:
		return 8
	}
	return 0
}

func (e ElemType) float() bool {
	return e == ElemFloat32 || e == ElemFloat16 || e == ElemBFloat16 || e == ElemFloat64
}

// fieldSize is the size of a length-delimited field.
func fieldSize(field protowire.Number, content int) int {
	return protowire.SizeTag(field) + protowire.SizeBytes(content)
}

func appendInt(b []byte, field protowire.Number, v int) []byte {
	b = protowire.AppendTag(b, field, protowire.VarintType)
	return protowire.AppendVarint(b, uint64(v))
}

func appendString(b []byte, field protowire.Number, s string) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendString(b, s)
}

func appendMessage(b []byte, field protowire.Number, content []byte) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendBytes(b, content)
}
