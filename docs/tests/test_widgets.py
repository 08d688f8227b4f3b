"""The widgets show the library's numbers, and can be used in every way."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ellipk

import jaxtemp
from jaxtemp.sampling import filters, sample_with_log_probs

ADDRESSES = {
    "temperature": "/learn/napkin/",
    "filters": "/use/sampling/",
    "simplex": "/use/gumbel-softmax/",
    "lattice": "/learn/boltzmann/",
}
PLACES = (0, 1, 30, 48, 60, 72, 103, 119, 120)  # of the slider, with both ends
TEXT = {math.inf: "∞", -math.inf: "−∞"}
WIDGETS = pytest.mark.parametrize("name", ADDRESSES)


class Widget:
    """A widget on its page, in a context with options of its own."""

    def __init__(self, browser, origin, name, **options):
        self.page = browser.new_context(**options).new_page()
        self.page.goto(origin + ADDRESSES[name])
        self.root = self.page.locator(f"[data-widget={name}]")

    @property
    def state(self):
        return json.loads(self.root.get_attribute("data-state"))

    @property
    def start(self):
        return json.loads(self.root.get_attribute("data-start"))

    def slider(self, label):
        return self.root.get_by_label(label, exact=True)

    def button(self, text):
        return self.root.get_by_role("button", name=text, exact=True)


@pytest.fixture
def open_widget(browser, origin):
    opened = []

    def start(name, **options):
        opened.append(Widget(browser, origin, name, **options))
        return opened[-1]

    yield start
    for widget in opened:
        widget.page.context.close()


@pytest.fixture(autouse=True)
def double():
    """What a browser computes with."""
    with jax.enable_x64(True):
        yield


def tau_at(place):
    if place in (0, 120):
        return 0.0 if place == 0 else math.inf
    return float(f"{2 ** ((place - 60) / 12):.3g}")


def shown(x):
    return TEXT.get(x) or f"{x:.4f}".replace("-", "−")


def close(found, expected):
    found = np.asarray([float(x) for x in np.ravel(found)])
    np.testing.assert_allclose(found, np.ravel(expected), rtol=1e-9, atol=1e-12)


def quantities(z, tau):
    return {
        "free": float(jaxtemp.free_energy(z, tau)),
        "mean": float(jaxtemp.mean_energy(z, tau)),
        "entropy": float(jaxtemp.entropy(z, tau)),
        "capacity": float(jaxtemp.heat_capacity(z, tau)),
    }


@pytest.mark.parametrize("edit", [None, "1.5", "-3.2"])
def test_temperature_shows_the_librarys_numbers(open_widget, edit):
    widget = open_widget("temperature")
    if edit:
        widget.slider("logit of class 3").fill(edit)
    z = jnp.array([2.0, 1.0, float(edit or 0.5), 0.1])
    for place in PLACES:
        widget.slider("temperature τ").fill(str(place))
        tau, state = tau_at(place), widget.state
        assert float(state["tau"]) == tau
        p = jaxtemp.softmax(z, tau)
        close(state["probabilities"], p)
        assert widget.root.locator("td.widget-bar").all_text_contents() == [
            shown(float(x)) for x in p
        ]
        expected = quantities(z, tau)
        close([state[name] for name in expected], list(expected.values()))
        texts = widget.root.locator(".widget-panel output").all_text_contents()
        assert texts == [shown(x) for x in expected.values()]


def test_an_empty_logit_changes_nothing_and_reset_goes_back(open_widget):
    widget = open_widget("temperature")
    before = widget.state
    widget.slider("logit of class 1").fill("")
    assert widget.state == before
    widget.slider("logit of class 1").fill("9")
    widget.slider("temperature τ").fill("3")
    assert widget.state != before
    widget.button("Reset").click()
    assert widget.state == before
    assert widget.slider("logit of class 1").input_value() == "2"


CUTS = [
    (place, k, p, least)
    for place in (0, 48, 60, 72, 108, 120)
    for k, p, least in [(0, 1, 0), (3, 1, 0), (0, 0.75, 0), (0, 1, 0.3), (5, 0.85, 0.2)]
]


@jax.jit
def filtered(z, tau, k, p, least):
    """What is drawn from if the temperature comes first, and if the filters do."""
    options = {"top_k": k, "top_p": p, "min_p": least, "top_n": len(z)}
    drawn = sample_with_log_probs(jax.random.key(0), z, tau, **options)
    log_probs = drawn.top_log_probs.filtered
    after = jnp.zeros(len(z)).at[drawn.top_ids].set(jnp.exp(log_probs))
    cut = filters.min_p(filters.top_p(filters.top_k(z, k), p), least)
    return after, jaxtemp.softmax(cut, tau), cut > -jnp.inf


@pytest.mark.parametrize("tied", [False, True])
def test_filters_keep_what_the_library_keeps(open_widget, tied):
    widget = open_widget("filters")
    z = widget.start["logits"]
    if tied:
        z[2] = z[3] = z[1]
        widget.slider("logit of class 3").fill(str(z[2]))
        widget.slider("logit of class 4").fill(str(z[3]))
    first, second = widget.root.get_by_role("radio").all()
    for place, *cuts in CUTS:
        widget.slider("temperature τ").fill(str(place))
        for label, value in zip(("top-k", "top-p", "min-p"), cuts, strict=True):
            widget.slider(label).fill(str(value))
        k, p, least = cuts
        after, before, kept = filtered(
            jnp.array(z), tau_at(place), k, float(p), float(least)
        )
        first.check()
        close(widget.state["probabilities"], after)
        assert widget.state["other"] == kept.tolist()
        second.check()
        close(widget.state["probabilities"], before)
        assert widget.state["kept"] == kept.tolist()


def test_the_order_of_filters_and_temperature_matters(open_widget):
    widget = open_widget("filters")
    assert sum(widget.state["kept"]) > sum(widget.state["other"])
    text = widget.root.locator("p output").text_content()
    assert text == "5 of 10 classes are kept; in the other order 3."
    cut = widget.root.locator(".widget-cut").all_text_contents()
    assert cut == ["cut by top-p"] * 5


def test_relaxed_draws_are_the_librarys(open_widget):
    widget = open_widget("simplex")
    z, noise = jnp.array(widget.start["logits"]), jnp.array(widget.start["noise"])
    for place in PLACES:
        widget.slider("temperature τ").fill(str(place))
        state, y = widget.state, jaxtemp.softmax(z + noise, tau_at(place))
        close(state["draws"], y)
        close(state["size"], y.max(-1).mean())
        if 0 < place < 120:
            close(state["shares"], jnp.bincount((z + noise).argmax(-1), length=3) / 300)


def test_new_noise_has_the_law_of_gumbel(open_widget):
    widget = open_widget("simplex")
    shares = []
    for _ in range(20):
        widget.button("New noise").click()
        shares.append(widget.state["shares"])
    expected = jaxtemp.softmax(jnp.array(widget.start["logits"]))
    error = np.mean(shares, axis=0) - expected
    assert np.sum(error**2 / expected) * 20 * 300 < 13.8  # chi-square, p > 0.001


def sweep(widget, times):
    """Magnetisation and energy after each of some sweeps."""
    step = """(root, times) => Array.from({ length: times }, () => {
      root.querySelector("button").click();
      const { mean, energy } = JSON.parse(root.dataset.state);
      return [mean, energy];
    })"""
    return np.array(widget.root.evaluate(step, times))


def onsager_energy(tau):
    k = 1 / tau
    kappa = 2 * math.sinh(2 * k) / math.cosh(2 * k) ** 2
    factor = 2 / math.pi * (2 * math.tanh(2 * k) ** 2 - 1) * ellipk(kappa**2)
    return -(1 + factor) / math.tanh(2 * k)


@pytest.mark.parametrize("tau", [0, 1.5, 2.25, 5])
def test_spins_are_drawn_by_the_librarys_softmax(open_widget, tau):
    widget = open_widget("lattice")
    widget.slider("temperature τ").fill(str(tau))
    h = jnp.array([-4.0, -2.0, 0.0, 2.0, 4.0])
    close(widget.state["chance"], jaxtemp.softmax(jnp.stack([h, -h], 1), tau)[:, 0])


def test_order_melts_as_onsager_says(open_widget):
    widget = open_widget("lattice")
    widget.button("All up").click()
    widget.slider("temperature τ").fill("1.5")
    sweep(widget, 50)
    mean, energy = sweep(widget, 200).mean(axis=0)
    assert mean == pytest.approx((1 - math.sinh(2 / 1.5) ** -4) ** 0.125, abs=0.005)
    assert energy == pytest.approx(onsager_energy(1.5), abs=0.01)
    widget.slider("temperature τ").fill("3.5")
    sweep(widget, 100)
    mean, energy = sweep(widget, 300).mean(axis=0)
    assert abs(mean) < 0.03
    assert energy == pytest.approx(onsager_energy(3.5), abs=0.01)


@WIDGETS
def test_a_slider_follows_keyboard_and_mouse(open_widget, name):
    widget = open_widget(name)
    slider = widget.slider("temperature τ")
    slider.scroll_into_view_if_needed()
    slider.focus()
    seen = []
    for key in ("Home", "ArrowRight", "End"):
        widget.page.keyboard.press(key)
        seen.append(float(widget.state["tau"]))
    assert seen[0] == 0
    assert seen == sorted(set(seen))
    box = slider.bounding_box()
    slider.click(position={"x": box["width"] / 4, "y": box["height"] / 2})
    assert 0 < float(widget.state["tau"]) < seen[-1]


@WIDGETS
def test_every_control_is_reached_by_tab(open_widget, name):
    widget = open_widget(name)
    controls = widget.root.locator("input:visible, button:visible").count()
    widget.slider("temperature τ").focus()
    reached = 1
    inside = "node => node.contains(document.activeElement)"
    while reached < 50:
        widget.page.keyboard.press("Tab")
        if not widget.root.evaluate(inside):
            break
        reached += 1
    # Of radio buttons one is a stop, the others are reached by arrows.
    radios = widget.root.get_by_role("radio").count()
    assert reached == controls - max(radios - 1, 0)


@WIDGETS
def test_without_scripts_the_picture_stands(open_widget, name):
    widget = open_widget(name, java_script_enabled=False)
    assert widget.root.locator("figure.plot svg").is_visible()
    assert widget.root.locator("input").count() == 0


@WIDGETS
def test_print_shows_the_state_without_controls(open_widget, name):
    widget = open_widget(name)
    widget.page.emulate_media(media="print")
    assert widget.root.locator("svg, table").first.is_visible()
    assert widget.root.locator("input[type=range]:visible, button:visible").count() == 0


@pytest.mark.parametrize("name", ["simplex", "lattice"])
def test_play_moves_and_pause_stops(open_widget, name):
    widget = open_widget(name)
    before = widget.state
    widget.button("Play").click()
    widget.page.wait_for_function(
        "before => document.querySelector('.widget').dataset.state !== before",
        arg=json.dumps(before),
    )
    widget.button("Pause").click()
    stopped = widget.state
    widget.page.wait_for_timeout(150)
    assert widget.state == stopped != before


@pytest.mark.parametrize("name", ["simplex", "lattice"])
def test_less_motion_leaves_single_steps(open_widget, name):
    widget = open_widget(name, reduced_motion="reduce")
    assert widget.root.get_by_role("button", name="Play").count() == 0
    before = widget.state
    widget.root.get_by_role("button").first.press("Enter")
    after = widget.state
    assert after != before
    widget.page.wait_for_timeout(150)
    assert widget.state == after
