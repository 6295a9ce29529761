"""Plotly figures. Pure: data in, figure out; `draw` puts one on the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from spice_explorer.palette import CLUSTERS, NOBODY, VERDICTS, cluster_colours, faded
from spice_explorer.present.reliability import MOST_NINES, REASONS, Histogram, nines

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

Curves = dict[str, tuple[list[int], list[float]]]
CONFIG = {"displayModeBar": False, "scrollZoom": False}
# More clusters than this are not named one by one on an axis.
# One hue of rising opacity reads on light and dark alike.
DENSITY = [[0, faded(CLUSTERS[0], 0.26)], [1, faded(CLUSTERS[0], 1)]]
MOST_TICKS = 30
THRESHOLD = "#e5484d"


def draw(figure: go.Figure, key: str, alt: str) -> None:
    st.plotly_chart(figure, key=key, config=CONFIG, alt=alt)


def _figure(height: int, x: str, y: str) -> go.Figure:
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 12, "b": 8},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "title": None},
        hoverlabel={"namelength": -1},
        bargap=0.18,
    )
    figure.update_xaxes(title=x, automargin=True)
    figure.update_yaxes(title=y, automargin=True, rangemode="tozero")
    return figure


def losses(curves: Curves, steps: int) -> go.Figure:
    """Losses over the steps of a stage; the axis shows the whole stage."""
    import plotly.graph_objects as go

    figure = _figure(210, "step", "")
    for index, (name, (x, y)) in enumerate(curves.items()):
        figure.add_trace(
            go.Scatter(
                x=x, y=y, name=name, mode="lines+markers" if len(x) < 2 else "lines",
                line={"color": CLUSTERS[index], "width": 2},
                hovertemplate="step %{x}: %{y:.4f}<extra>" + name + "</extra>",
            )
        )  # fmt: skip
    figure.update_layout(showlegend=len(curves) > 1)
    figure.update_xaxes(range=[0, 1.02 * max(1, steps)])
    figure.update_yaxes(rangemode="normal")
    return figure


def cluster_sizes(sizes: Sequence[int], reliable: Sequence[int] | None) -> go.Figure:
    """Images of each cluster; where they have been judged, the reliable ones in full colour."""
    clusters = np.arange(len(sizes))
    colours = cluster_colours(len(sizes))
    figure = _figure(250, "cluster", "images")
    if reliable is None:
        _bar(figure, clusters, np.asarray(sizes), "images", colours)
    else:
        rest = np.asarray(sizes) - np.asarray(reliable)
        _bar(figure, clusters, np.asarray(reliable), "reliable", colours)
        _bar(figure, clusters, rest, "rejected", [faded(one, 0.3) for one in colours])
    figure.update_layout(barmode="stack", showlegend=False)
    return _cluster_axis(figure, len(sizes))


def _bar(
    figure: go.Figure, x: np.ndarray, y: np.ndarray, name: str, colours: list[str] | str
) -> None:
    import plotly.graph_objects as go

    template = "cluster %{x}: %{y} " + name + "<extra></extra>"
    figure.add_trace(
        go.Bar(
            x=x, y=y, name=name, marker_color=colours, marker_line_width=0, hovertemplate=template
        )
    )


def _cluster_axis(figure: go.Figure, clusters: int) -> go.Figure:
    if clusters <= MOST_TICKS:
        figure.update_xaxes(tickmode="array", tickvals=list(range(clusters)))
    return figure


def reasons(table: pd.DataFrame) -> go.Figure:
    """Stacked bars a cluster: reliable and each reason for a rejection."""
    figure = _figure(300, "cluster", "images")
    for reason, colour in zip(REASONS, VERDICTS, strict=True):
        if table[reason].any():
            _bar(figure, table["cluster"].to_numpy(), table[reason].to_numpy(), reason, colour)
    figure.update_layout(barmode="stack", showlegend=True)
    return _cluster_axis(figure, len(table))


def plane(found: Histogram, agreement: float, confidence: float) -> go.Figure:
    """Images by confidence and agreement with both thresholds; top right is reliable."""
    import plotly.graph_objects as go

    figure = _figure(360, "confidence", "agreement of the neighbours")
    shown = np.where(found.counts > 0, np.log10(np.maximum(found.counts, 1)), np.nan)
    ticks = [t for t in (0, 1, 2, 3, 4) if 10**t <= max(1, found.counts.max()) * 1.5]
    figure.add_trace(
        go.Heatmap(
            x=found.nines, y=found.agreement, z=shown, customdata=found.counts, zmin=-0.4,
            colorscale=DENSITY, xgap=1, ygap=1,
            colorbar={
                "title": "images", "tickvals": ticks, "ticktext": [f"{10**t:,}" for t in ticks],
                "thickness": 12, "len": 0.9,
            },
            hovertemplate="%{customdata} images<extra></extra>",
        )
    )  # fmt: skip
    _thresholds(figure, agreement, float(nines(confidence)))
    marks = (0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)
    figure.update_xaxes(
        range=[0, MOST_NINES], showgrid=False, zeroline=False,
        tickvals=[float(nines(mark)) for mark in marks], ticktext=[f"{mark:g}" for mark in marks],
    )  # fmt: skip
    figure.update_yaxes(range=[-0.03, 1.03], showgrid=False, zeroline=False)
    return figure


def _thresholds(figure: go.Figure, agreement: float, place: float) -> None:
    line = {"color": THRESHOLD, "width": 2}
    figure.add_shape(type="line", x0=place, x1=place, y0=-0.03, y1=1.03, line=line)
    # Agreements exactly at the threshold are in: the line runs below their cells.
    figure.add_shape(
        type="line", x0=0, x1=MOST_NINES, y0=agreement - 0.005, y1=agreement - 0.005, line=line
    )


def class_balance(table: pd.DataFrame) -> go.Figure:
    """Images of each true class."""
    import plotly.graph_objects as go

    figure = _figure(240, "", "images")
    figure.add_trace(
        go.Bar(
            x=table["class"].astype(str), y=table["images"], marker_color=NOBODY,
            hovertemplate="%{x}: %{y} images<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(type="category")
    return figure


def similarities(cosines: np.ndarray) -> go.Figure:
    """Cosines between prototypes, as a heat map."""
    import plotly.graph_objects as go

    count = len(cosines)
    figure = _figure(min(620, 200 + 26 * count), "cluster", "cluster")
    figure.add_trace(
        go.Heatmap(
            z=np.where(np.eye(count, dtype=bool), np.nan, cosines), colorscale=DENSITY, xgap=1,
            ygap=1, colorbar={"title": "cosine", "thickness": 12},
            hovertemplate="clusters %{x} and %{y}: %{z:.2f}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(showgrid=False, autorange="reversed", scaleanchor="x")
    return _cluster_axis(figure, count)


def head_losses(losses: np.ndarray, chosen: int) -> go.Figure:
    """Final loss of each head; the chosen one stands out."""
    import plotly.graph_objects as go

    figure = _figure(210, "head", "pseudo-label loss")
    colours = [CLUSTERS[0] if head == chosen else NOBODY for head in range(len(losses))]
    figure.add_trace(
        go.Scatter(
            x=list(range(len(losses))), y=losses, mode="markers",
            marker={"color": colours, "size": 11},
            hovertemplate="head %{x}: %{y:.4f}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_yaxes(rangemode="normal")
    figure.update_xaxes(dtick=1 if len(losses) <= MOST_TICKS else None)
    return figure
