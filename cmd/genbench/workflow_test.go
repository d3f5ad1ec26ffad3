package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// A workflow is as much of docs/gate.yml as a runner needs.
type workflow struct {
	On   map[string]any `yaml:"on"`
	Jobs map[string]struct {
		RunsOn []string          `yaml:"runs-on"`
		Env    map[string]string `yaml:"env"`
		Steps  []struct {
			Name string         `yaml:"name"`
			Uses string         `yaml:"uses"`
			If   string         `yaml:"if"`
			Run  string         `yaml:"run"`
			With map[string]any `yaml:"with"`
		} `yaml:"steps"`
	} `yaml:"jobs"`
}

// workflowSteps are the scripts of docs/gate.yml by file name, with the job's
// environment before each, as far as it is no expression of GitHub's.
func workflowSteps() (map[string]string, error) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "gate.yml"))
	if err != nil {
		return nil, err
	}
	var w workflow
	if err := yaml.Unmarshal(raw, &w); err != nil {
		return nil, err
	}
	job, ok := w.Jobs["gate"]
	if _, triggered := w.On["pull_request"]; !ok || !triggered || len(job.RunsOn) == 0 {
		return nil, fmt.Errorf("docs/gate.yml has no job `gate` on pull requests")
	}
	steps := map[string]string{}
	for _, s := range job.Steps {
		if (s.Run == "") == (s.Uses == "") {
			return nil, fmt.Errorf("step %q neither runs nor uses something", s.Name)
		}
		if s.Run == "" {
			continue
		}
		script := "set -eo pipefail\n" // as GitHub runs bash
		for name, value := range job.Env {
			if !strings.Contains(value, "${{") {
				script += fmt.Sprintf("export %s=${%s-%q}\n", name, name, value)
			}
		}
		steps[strings.ReplaceAll(strings.ToLower(s.Name), " ", "-")+".sh"] = script + s.Run + "\n"
	}
	return steps, nil
}

func TestWorkflow(t *testing.T) {
	steps, err := workflowSteps()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"build.sh", "engine.sh", "look-at-the-machine.sh", "gate.sh"} {
		if steps[name] == "" {
			t.Errorf("no step makes %s", name)
		}
	}
	if strings.Contains(steps["gate.sh"], "${{") {
		t.Error("an expression of GitHub's stands inside a script, where a branch's name could end the command")
	}
}
