// Judges objects with the code of the tools that read them: kstatus of fluxcd/cli-utils, which Flux and Helm use, the
// evaluator of Flux' health checks, the Go types of Flux' own kinds, and the Lua of Argo CD.
//
// Reads a stream of JSON documents from standard input and writes one line of JSON for each, in order. The Rust tests compare
// these answers with their own.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	helm "github.com/fluxcd/helm-controller/api/v2"
	kustomization "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	source "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	whole "k8s.io/apimachinery/pkg/util/json"
)

// question is one object. With checks, Flux' evaluator is asked as well, and with a script, Argo CD's interpreter.
type question struct {
	Object json.RawMessage                   `json:"object"`
	Checks *kustomize.HealthCheckExpressions `json:"checks"`
	Script string                            `json:"script"`
}

// answer is what the tools make of it. What one of them refuses stands in place of its answer.
type answer struct {
	Kstatus string `json:"kstatus"`
	Flux    string `json:"flux,omitempty"`
	// Lua is what a script returned.
	Lua any `json:"lua,omitempty"`
	// Refused is why a manifest of one of Flux' kinds does not fit its type.
	Refused string `json:"refused,omitempty"`
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	decoder, encoder := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var asked question
		if err := decoder.Decode(&asked); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("cannot read a document: %w", err)
		}
		// By the decoder that keeps whole numbers whole, as the client of a cluster does.
		object := &unstructured.Unstructured{}
		if err := whole.Unmarshal(asked.Object, &object.Object); err != nil {
			return fmt.Errorf("cannot read an object: %w", err)
		}
		told := answer{Kstatus: computed(object), Refused: refused(object, asked.Object)}
		if asked.Checks != nil {
			told.Flux = evaluated(object, asked.Checks)
		}
		if asked.Script != "" {
			told.Lua = returned(object, asked.Script)
		}
		if err := encoder.Encode(told); err != nil {
			return fmt.Errorf("cannot write an answer: %w", err)
		}
	}
}

func computed(object *unstructured.Unstructured) string {
	return shown(status.Compute(object))
}

func evaluated(object *unstructured.Unstructured, checks *kustomize.HealthCheckExpressions) string {
	evaluator, err := cel.NewStatusEvaluator(checks)
	if err != nil {
		return err.Error()
	}
	return shown(evaluator.Evaluate(context.Background(), object))
}

func returned(object *unstructured.Unstructured, script string) any {
	result, err := scripted(script, object.Object)
	if err != nil {
		return err.Error()
	}
	return result
}

func shown(result *status.Result, err error) string {
	if err != nil {
		return err.Error()
	}
	return result.Status.String()
}

// refused says which field of a manifest its type does not know, or holds another type of value.
func refused(object *unstructured.Unstructured, manifest []byte) string {
	var into any
	switch object.GetAPIVersion() + " " + object.GetKind() {
	case "kustomize.toolkit.fluxcd.io/v1 Kustomization":
		into = &kustomization.Kustomization{}
	case "helm.toolkit.fluxcd.io/v2 HelmRelease":
		into = &helm.HelmRelease{}
	case "source.toolkit.fluxcd.io/v1 GitRepository":
		into = &source.GitRepository{}
	default:
		return ""
	}
	decoder := json.NewDecoder(bytes.NewReader(manifest))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err.Error()
	}
	return ""
}
