package sandbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oap-runtime/oap/sandbox"
)

// completion is the answer of a chat completions endpoint.
const completion = `{"id":"chatcmpl-1","object":"chat.completion","created":1774708330,"model":"gpt-4o-mini",` +
	`"choices":[{"index":0,"message":{"role":"assistant","content":"1. Review\n2. Plan"},"finish_reason":"stop"}],` +
	`"usage":{"prompt_tokens":20,"completion_tokens":7,"total_tokens":27}}`

func grant(answer func(ctx context.Context, request json.RawMessage) (json.RawMessage, error)) sandbox.Grants {
	return sandbox.Grants{LLM: answer}
}

func fixed(reply string) sandbox.Grants {
	return grant(func(context.Context, json.RawMessage) (json.RawMessage, error) { return json.RawMessage(reply), nil })
}

// agenda is the snippet of the protocol document's sample manifest, unchanged.
const agenda = "def generate(purpose):\n import openai\n resp = openai.ChatCompletion.create(\n model='gpt-4o-mini',\n " +
	"messages=[{'role':'system','content':'You are an agenda generator.'},\n {'role':'user','content':purpose}]\n )\n " +
	"return resp['choices'][0]['message']['content']\n"

// TestSampleSnippetRuns covers S2-35, S2-37, C-12 and D-5: the sample runs byte for byte when the model is granted.
func TestSampleSnippetRuns(t *testing.T) {
	t.Parallel()
	var request struct {
		Model    string
		Messages []struct{ Role, Content string }
	}
	p := program(sandbox.Python, agenda)
	p.Name = "generate_agenda"
	p.Grants = grant(func(_ context.Context, body json.RawMessage) (json.RawMessage, error) {
		return json.RawMessage(completion), json.Unmarshal(body, &request)
	})
	out, err := run(t, p, `{"purpose":"quarterly budget"}`)
	if err != nil {
		t.Fatal(err, traceback(err))
	}
	if want := `"1. Review\n2. Plan"`; string(out.Output) != want {
		t.Errorf("output = %s, want %s", out.Output, want)
	}
	if request.Model != "gpt-4o-mini" || len(request.Messages) != 2 || request.Messages[1].Content != "quarterly budget" {
		t.Errorf("request = %+v", request)
	}
	if out.Usage.HostCalls != 1 || out.Usage.HostTime <= 0 {
		t.Errorf("usage = %+v, want one host call", out.Usage)
	}

	p.Grants = sandbox.Grants{}
	_, err = run(t, p, `{"purpose":"quarterly budget"}`)
	if g := raised(t, err, "ModuleNotFoundError"); !strings.Contains(g.Message, "permissions.llm") {
		t.Errorf("without the grant: %q, want it to name the permission", g.Message)
	}
}

func TestModelInterfaces(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rt         sandbox.Runtime
		name, code string
	}{
		{sandbox.Python, "legacy attributes", "import openai\nopenai.api_key = 'k'\nr = openai.ChatCompletion.create(model='m', messages=[])\nresult = [r.choices[0].message.content, r['usage'].total_tokens, r.missing]"},
		{sandbox.Python, "client", "from openai import OpenAI\nr = OpenAI(api_key='k').chat.completions.create(model='m', messages=[], timeout=3)\nresult = [r.choices[0].message.content, r.usage['total_tokens'], r.choices[0].message.tool_calls]"},
		{sandbox.Python, "asynchronous client", "from openai import AsyncOpenAI\nasync def main():\n r = await AsyncOpenAI().chat.completions.create(model='m', messages=[])\n return [r.choices[0].message.content, r.model_dump()['usage']['total_tokens'], None]"},
		{sandbox.JavaScript, "global", "const r = await openai.chat.completions.create({model: 'm', messages: []}); return [r.choices[0].message.content, r.usage.total_tokens, null]"},
		{sandbox.JavaScript, "client", "const r = await new OpenAI({apiKey: 'k'}).chat.completions.create({model: 'm', messages: []}); return [r.choices[0].message.content, r.usage.total_tokens, null]"},
	} {
		t.Run(string(tt.rt)+"/"+tt.name, func(t *testing.T) {
			t.Parallel()
			p := program(tt.rt, tt.code)
			p.Grants = fixed(completion)
			if got, want := output(t, p, ""), `["1. Review\n2. Plan",27,null]`; got != want {
				t.Errorf("output = %s, want %s", got, want)
			}
		})
	}
}

// TestModelFailures: what goes wrong on the host reaches the guest as an exception with its text.
func TestModelFailures(t *testing.T) {
	t.Parallel()
	code := map[sandbox.Runtime]string{
		sandbox.Python:     "import openai\ndef f(**o):\n try: return openai.ChatCompletion.create(model='m', messages=[], **o)\n except openai.error.APIError as e: return 'caught ' + str(e)",
		sandbox.JavaScript: "const f = o => openai.chat.completions.create(o).catch(e => `caught ${e.message}`)",
	}
	for name, tt := range map[string]struct {
		grants      sandbox.Grants
		input, want string
	}{
		"error": {grant(func(context.Context, json.RawMessage) (json.RawMessage, error) {
			return nil, errors.New("no budget left")
		}), "{}", "no budget left"},
		"not JSON":     {fixed("<html>"), "{}", "not JSON"},
		"long answer":  {fixed(`"` + strings.Repeat("x", 5<<20) + `"`), "{}", "bytes"},
		"long request": {fixed(completion), `{"user":"` + strings.Repeat("x", 2<<20) + `"}`, "bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, rt sandbox.Runtime) {
				p := program(rt, code[rt])
				p.Grants = tt.grants
				if got := output(t, p, tt.input); !strings.HasPrefix(got, `"caught `) || !strings.Contains(got, tt.want) {
					t.Errorf("output = %s, want a caught error with %q", got, tt.want)
				}
			})
		})
	}
}

func TestHostCallLimits(t *testing.T) {
	t.Parallel()
	code := map[sandbox.Runtime]string{
		sandbox.Python:     "import openai\nwhile True:\n try: openai.ChatCompletion.create(model='m', messages=[])\n except BaseException: pass",
		sandbox.JavaScript: "for (;;) try { await openai.chat.completions.create({}) } catch {}",
	}
	both(t, func(t *testing.T, rt sandbox.Runtime) {
		var calls atomic.Int64
		p := program(rt, code[rt])
		p.Limits.HostCalls = 3
		p.Grants = grant(func(context.Context, json.RawMessage) (json.RawMessage, error) {
			calls.Add(1)
			return json.RawMessage(completion), nil
		})
		out, err := run(t, p, "")
		limited(t, err, sandbox.LimitHostCalls)
		if calls.Load() != 3 || out.Usage.HostCalls != 4 {
			t.Errorf("%d calls served, usage %d; want 3 served and the fourth refused", calls.Load(), out.Usage.HostCalls)
		}

		p.Limits.HostTime = 20 * time.Millisecond
		p.Grants = grant(func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		_, err = run(t, p, "")
		limited(t, err, sandbox.LimitHostTime)
	})
}

// TestHostTimeIsNotWallTime: a slow model does not use up the wall limit of the code.
func TestHostTimeIsNotWallTime(t *testing.T) {
	t.Parallel()
	p := program(sandbox.JavaScript, "await openai.chat.completions.create({}); let n = 0; while (n < 1e5) n++; return n")
	p.Limits.Wall = time.Second
	p.Grants = grant(func(ctx context.Context, _ json.RawMessage) (json.RawMessage, error) {
		timer := time.NewTimer(1100 * time.Millisecond)
		defer timer.Stop()
		<-timer.C
		return json.RawMessage(completion), nil
	})
	out, err := run(t, p, "")
	if err != nil {
		t.Fatal(err)
	}
	if out.Usage.HostTime < 1100*time.Millisecond || out.Usage.Wall < out.Usage.HostTime {
		t.Errorf("usage = %+v, want host time within wall time", out.Usage)
	}
}

// TestWaitingForTheModelKeepsNoWorker: more runs than workers wait for answers at the same time.
func TestWaitingForTheModelKeepsNoWorker(t *testing.T) {
	t.Parallel()
	const runs = 12 // there are four workers
	var waiting sync.WaitGroup
	waiting.Add(runs)
	p := program(sandbox.JavaScript, "return openai.chat.completions.create({})")
	p.Grants = grant(func(context.Context, json.RawMessage) (json.RawMessage, error) {
		waiting.Done()
		waiting.Wait()
		return json.RawMessage(`1`), nil
	})
	var wg sync.WaitGroup
	for range runs {
		wg.Go(func() {
			if out, err := run(t, p, ""); err != nil || string(out.Output) != "1" {
				t.Errorf("Run = %s, %v", out.Output, err)
			}
		})
	}
	wg.Wait()
}

// TestCollectorIsNotBlocked: a spinning guest lets the garbage collector of the process finish.
func TestCollectorIsNotBlocked(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, rt sandbox.Runtime) {
		p := program(rt, map[sandbox.Runtime]string{
			sandbox.Python:     "import openai\nopenai.ChatCompletion.create(model='m', messages=[])\nwhile True: pass",
			sandbox.JavaScript: "await openai.chat.completions.create({}); for (;;) {}",
		}[rt])
		p.Limits.CPU = 10 * time.Minute
		ctx, cancel := context.WithCancel(t.Context())
		p.Grants = grant(func(context.Context, json.RawMessage) (json.RawMessage, error) {
			go func() {
				for range 10 {
					runtime.GC() // waits until every goroutine, the guest's too, has stopped for a moment
				}
				cancel()
			}()
			return json.RawMessage(completion), nil
		})
		if _, err := box.Run(ctx, p, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want the cancellation that followed the collections", err)
		}
	})
}

func TestCancellation(t *testing.T) {
	t.Parallel()
	errStop := errors.New("the user left")
	both(t, func(t *testing.T, rt sandbox.Runtime) {
		p := program(rt, map[sandbox.Runtime]string{
			sandbox.Python:     "import openai\nopenai.ChatCompletion.create(model='m', messages=[])\nwhile True: pass",
			sandbox.JavaScript: "await openai.chat.completions.create({}); for (;;) {}",
		}[rt])
		p.Limits.CPU = time.Minute
		ctx, cancel := context.WithCancelCause(t.Context())
		p.Grants = grant(func(context.Context, json.RawMessage) (json.RawMessage, error) {
			go cancel(errStop) // while or after the call
			return json.RawMessage(completion), nil
		})
		if _, err := box.Run(ctx, p, nil); !errors.Is(err, errStop) {
			t.Errorf("Run = %v, want the cause of the cancellation", err)
		}
		if _, err := box.Run(ctx, p, nil); !errors.Is(err, errStop) {
			t.Errorf("Run with an ended context = %v, want its cause", err)
		}
	})
}
