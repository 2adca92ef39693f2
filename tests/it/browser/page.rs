//! What a person does with a page, and what a test looks at.

use serde_json::{Value, json};

use super::{Browser, PATIENCE};

/// Longest part of a page's text in a failure.
const TEXT_LIMIT: usize = 2_000;
/// Most elements of a page that can have the focus.
const TAB_LIMIT: usize = 200;

/// Waits for a condition: looks again at each change of the document and at each frame (for
/// what changes without, like pixels), and of a hidden page, which has no frames, at times.
const UNTIL: &str = "(condition, patience) => new Promise((resolve) => {
  let done = false;
  const end = (value) => {
    done = true;
    observer.disconnect();
    clearTimeout(last);
    clearInterval(at_times);
    resolve(value);
  };
  const look = () => {
    if (done) return;
    let found = null;
    try { found = condition(); } catch (error) { if (!(error instanceof TypeError)) throw error; }
    if (found) end(found);
  };
  const observer = new MutationObserver(look);
  observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
  const last = setTimeout(() => end(null), patience);
  const at_times = setInterval(look, 100);
  const frame = () => { look(); if (!done) requestAnimationFrame(frame); };
  frame();
})";

/// Where the first element of a selector is that can be clicked: shown, enabled, still, and
/// in front.
const CLICKABLE: &str = "(selector) => {
  for (const element of document.querySelectorAll(selector)) {
    if (element.disabled || element.getAttribute('aria-disabled') === 'true') continue;
    element.scrollIntoView({ block: 'center', inline: 'nearest', behavior: 'instant' });
    const box = element.getBoundingClientRect();
    if (box.width === 0 || box.height === 0) continue;
    const place = `${box.left} ${box.top} ${box.width} ${box.height}`;
    const front = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
    if (!front || !(element.contains(front) || front.contains(element) || element.labels?.[0]?.contains(front))) continue;
    window.fanalTestPlaces ??= new WeakMap();
    const still = window.fanalTestPlaces.get(element) === place;
    window.fanalTestPlaces.set(element, place);
    if (still) return { x: Math.round(box.left + box.width / 2), y: Math.round(box.top + box.height / 2) };
  }
  return null;
}";

/// The keys of WebDriver that are no characters.
fn key(name: &str) -> String {
    let code = match name {
        "Backspace" => '\u{e003}',
        "Tab" => '\u{e004}',
        "Enter" => '\u{e007}',
        "Shift" => '\u{e008}',
        "Control" => '\u{e009}',
        "Alt" => '\u{e00a}',
        "Escape" => '\u{e00c}',
        "PageUp" => '\u{e00e}',
        "PageDown" => '\u{e00f}',
        "Delete" => '\u{e017}',
        "ArrowLeft" => '\u{e012}',
        "ArrowUp" => '\u{e013}',
        "ArrowRight" => '\u{e014}',
        "ArrowDown" => '\u{e015}',
        _ => return name.to_owned(),
    };
    code.to_string()
}

/// `[data-testid="NAME"]`, and what else the selector says.
pub fn id(name: &str) -> String {
    let (name, more) = name.split_at(name.find(['[', ':', ' ']).unwrap_or(name.len()));
    format!("[data-testid=\"{name}\"]{more}")
}

impl Browser {
    /// The value of an expression of the page, promises awaited.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        self.run(expression, None).await
    }

    /// The same, where that may throw: the error's text.
    pub async fn try_evaluate(&mut self, expression: &str) -> Result<Value, String> {
        self.try_run(expression, None).await
    }

    /// The same beside the page: its globals and its policy do not reach there.
    pub async fn evaluate_beside(&mut self, expression: &str) -> Value {
        self.run(expression, Some("beside")).await
    }

    /// Runs statements there.
    pub async fn execute_beside(&mut self, statements: &str) {
        let function = format!("() => {{ {statements}\n}}");
        let done = self.call_function(&function, Some("beside"));
        done.await.unwrap();
    }

    async fn run(&mut self, expression: &str, sandbox: Option<&str>) -> Value {
        let answer = self.try_run(expression, sandbox).await;
        answer.unwrap_or_else(|error| panic!("{error}\nin: {:.400}", expression))
    }

    async fn try_run(&mut self, expression: &str, sandbox: Option<&str>) -> Result<Value, String> {
        let function = format!("async () => JSON.stringify((await ({expression})) ?? null)");
        let result = self.call_function(&function, sandbox).await?;
        let text = result["value"].as_str().unwrap_or("null");
        Ok(serde_json::from_str(text).unwrap())
    }

    async fn call_function(
        &mut self,
        function: &str,
        sandbox: Option<&str>,
    ) -> Result<Value, String> {
        let mut target = json!({ "context": self.context });
        if let Some(sandbox) = sandbox {
            target["sandbox"] = sandbox.into();
        }
        let params = json!({
            "functionDeclaration": function,
            "awaitPromise": true,
            "target": target,
        });
        let call = self
            .connection
            .call("script.callFunction", params, PATIENCE * 2);
        let mut answer = call.await?;
        if answer["type"] == "exception" {
            return Err(answer["exceptionDetails"]["text"].to_string());
        }
        Ok(answer["result"].take())
    }

    /// Waits until an expression of the page is true; gives its value.
    pub async fn until(&mut self, what: &str, condition: &str) -> Value {
        let wait = format!("({UNTIL})(() => ({condition}), {})", PATIENCE.as_millis());
        let found = self.try_run(&wait, None).await;
        match found {
            Ok(Value::Null) => self.fail(&format!("waited in vain for {what}")).await,
            Ok(found) => found,
            Err(error) => self.fail(&format!("{what}: {error}")).await,
        }
    }

    /// Fails with what the page shows and has written to its console.
    async fn fail(&mut self, why: &str) -> ! {
        self.keep_screenshot("failed").await;
        let text = self.try_run("document.body.innerText", None).await;
        let text = text.unwrap_or_default();
        let shown: String = text
            .as_str()
            .unwrap_or_default()
            .chars()
            .take(TEXT_LIMIT)
            .collect();
        let errors = self.errors();
        panic!("{why}\nthe page shows: {shown}\nits console: {errors:#?}");
    }

    /// Waits until an element is shown.
    pub async fn shown(&mut self, selector: &str) {
        let selector = json!(selector);
        let condition = format!("document.querySelector({selector})?.checkVisibility()");
        self.until(&format!("{selector}"), &condition).await;
    }

    /// Waits until no such element is shown.
    pub async fn gone(&mut self, selector: &str) {
        let selector = json!(selector);
        let condition = format!(
            "![...document.querySelectorAll({selector})].some((found) => found.checkVisibility())"
        );
        self.until(&format!("no {selector}"), &condition).await;
    }

    /// Waits until the element's text (a field's value) holds these words.
    pub async fn says(&mut self, selector: &str, words: &str) {
        let (selector, words) = (json!(selector), json!(words));
        let condition = format!(
            "[...document.querySelectorAll({selector})].some((found) => (found.value || found.innerText).includes({words}))"
        );
        self.until(&format!("{words} in {selector}"), &condition)
            .await;
    }

    /// The text of the first such element.
    pub async fn text(&mut self, selector: &str) -> String {
        let expression = format!("document.querySelector({}).innerText", json!(selector));
        self.evaluate(&expression)
            .await
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Clicks an element with the mouse, once it can be clicked.
    pub async fn click(&mut self, selector: &str) {
        let find = format!("({CLICKABLE})({})", json!(selector));
        let place = self
            .until(&format!("{selector} that can be clicked"), &find)
            .await;
        let actions = [
            json!({ "type": "pointerMove", "x": place["x"], "y": place["y"] }),
            json!({ "type": "pointerDown", "button": 0 }),
            json!({ "type": "pointerUp", "button": 0 }),
        ];
        self.point(&actions).await;
    }

    /// Presses the mouse on an element, once it can be clicked, and holds it.
    pub async fn press_mouse(&mut self, selector: &str) {
        let find = format!("({CLICKABLE})({})", json!(selector));
        let place = self
            .until(&format!("{selector} that can be pressed"), &find)
            .await;
        let actions = [
            json!({ "type": "pointerMove", "x": place["x"], "y": place["y"] }),
            json!({ "type": "pointerDown", "button": 0 }),
        ];
        self.point(&actions).await;
    }

    /// Lets the mouse go.
    pub async fn release_mouse(&mut self) {
        self.point(&[json!({ "type": "pointerUp", "button": 0 })])
            .await;
    }

    async fn point(&mut self, actions: &[Value]) {
        let actions = json!([{
            "type": "pointer",
            "id": "mouse",
            "parameters": { "pointerType": "mouse" },
            "actions": actions,
        }]);
        self.perform(actions).await;
    }

    /// Types characters into what has the focus.
    pub async fn type_text(&mut self, text: &str) {
        let keys: Vec<String> = text.chars().map(String::from).collect();
        self.strike(&keys).await;
    }

    /// Clicks a field, empties it and types into it.
    pub async fn fill(&mut self, selector: &str, text: &str) {
        self.click(selector).await;
        self.press("Control+a").await;
        self.press("Backspace").await;
        self.type_text(text).await;
    }

    /// Focuses a list and chooses by the keyboard.
    pub async fn choose(&mut self, selector: &str, value: &str) {
        self.shown(selector).await;
        let focus = format!("document.querySelector({}).focus()", json!(selector));
        self.evaluate(&focus).await;
        self.choose_focused(selector, value).await;
    }

    /// Chooses in the list that has the focus: types what the wanted line begins with.
    pub async fn choose_focused(&mut self, selector: &str, value: &str) {
        self.focused(selector).await;
        let field = json!(selector);
        let label = format!(
            "[...document.querySelector({field}).options].find(({{ value }}) => value === {})?.text",
            json!(value)
        );
        let label = self.until(&format!("{value} in {selector}"), &label).await;
        self.type_text(label.as_str().unwrap()).await;
        let chosen = format!("document.querySelector({field}).value === {}", json!(value));
        self.until(&format!("{value} chosen in {selector}"), &chosen)
            .await;
    }

    /// Waits until the element has the focus.
    pub async fn focused(&mut self, selector: &str) {
        let has = format!("document.activeElement?.matches({})", json!(selector));
        self.until(&format!("the focus on {selector}"), &has).await;
    }

    /// Goes on by the Tab key until the element has the focus.
    pub async fn tab_to(&mut self, selector: &str) {
        let has = format!("document.activeElement?.matches({})", json!(selector));
        for _ in 0..TAB_LIMIT {
            self.press("Tab").await;
            if self.evaluate(&has).await == true {
                return;
            }
        }
        self.fail(&format!("no Tab leads to {selector}")).await
    }

    /// Strikes a key: a character, a name (`Enter`, `Tab`), or several held together
    /// (`Shift+Tab`).
    pub async fn press(&mut self, keys: &str) {
        let keys: Vec<String> = match keys {
            "+" => vec!["+".to_owned()],
            _ => keys.split('+').map(key).collect(),
        };
        let down = keys
            .iter()
            .map(|key| json!({ "type": "keyDown", "value": key }));
        let up = keys.iter().rev();
        let up = up.map(|key| json!({ "type": "keyUp", "value": key }));
        let actions: Vec<Value> = down.chain(up).collect();
        self.perform(json!([{ "type": "key", "id": "keyboard", "actions": actions }]))
            .await;
    }

    async fn strike(&mut self, keys: &[String]) {
        let strokes = keys
            .iter()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })));
        let actions: Vec<Value> = strokes.collect();
        self.perform(json!([{ "type": "key", "id": "keyboard", "actions": actions }]))
            .await;
    }

    async fn perform(&mut self, actions: Value) {
        let params = json!({ "context": self.context, "actions": actions });
        self.command("input.performActions", params).await;
    }
}
