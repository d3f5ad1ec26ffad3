package reference_test

import (
	"testing"

	"genbench/engines/enginetest"
	"genbench/engines/reference"
)

func TestConformance(t *testing.T) { enginetest.Run(t, reference.Driver()) }
