"How far to trust an answer: reliability, temperature, rejection"
import numpy as np
import pytest

from audio_tutorial.calibration import (calibration_error, fit_temperature, rejection_curve, rejection_threshold,
                                        reliability, soften)


def probabilities(n=400, scale=3., seed=0):
    "Too sure by a known factor: scores times `scale`, labels drawn from the scores"
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 1.5, (n, 5))
    honest = np.exp(scores)/np.exp(scores).sum(1, keepdims=True)
    y = np.array([rng.choice(5, p=p) for p in honest])
    sure = np.exp(scale*scores)
    return sure/sure.sum(1, keepdims=True), y


def test_temperature_undoes_what_made_it_too_sure():
    p, y = probabilities(4000)
    t = fit_temperature(p, y)
    assert t == pytest.approx(3, rel=0.1)
    q = soften(p, t)
    assert np.allclose(q.sum(1), 1) and (q.argmax(1) == p.argmax(1)).all()
    assert calibration_error(q, y) < 0.03 < 0.1 < calibration_error(p, y)


def test_temperature_one_changes_nothing():
    p, _ = probabilities()
    assert np.allclose(soften(p, 1), p, atol=1e-6)
    assert np.isfinite(soften(np.array([[1., 0.]]), 2)).all()


def test_calibration_error_of_known_cases():
    sure = np.array([[1., 0.]]*4)
    assert calibration_error(sure, [0]*4) == 0 and calibration_error(sure, [1]*4) == 1
    half = np.array([[0.7, 0.3]]*10)
    assert calibration_error(half, [0]*5 + [1]*5) == pytest.approx(0.2)
    t = reliability(np.vstack([sure, half]), [0]*4 + [0]*5 + [1]*5)
    assert t.clips.tolist() == [10, 4] and t.accuracy.tolist() == [0.5, 1]


def test_rejection_trades_coverage_for_accuracy():
    p, y = probabilities()
    curve = rejection_curve(p, y)
    assert curve.coverage.is_monotonic_increasing and curve.threshold.is_monotonic_decreasing
    assert curve.coverage.iloc[-1] == 1 and curve.accuracy.iloc[-1] == pytest.approx((p.argmax(1) == y).mean())
    threshold = rejection_threshold(p, y, 0.8)
    kept = p.max(1) >= threshold
    assert (p.argmax(1) == y)[kept].mean() >= 0.8
    lower = curve[curve.threshold < threshold]
    assert (lower.accuracy < 0.8).all()
    with pytest.raises(ValueError, match='no threshold reaches 90%'):
        rejection_threshold(np.array([[0.9, 0.1]]*2), [1, 1], 0.9)
