package onnxruntime_test

import (
	"testing"

	"genbench/engines/enginetest"
	"genbench/engines/onnxruntime"
)

func TestConformance(t *testing.T) { enginetest.Run(t, onnxruntime.Driver()) }
