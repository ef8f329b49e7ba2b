"""Passes before anything is measured: open the model, fix its shapes, group its nodes, ask the devices."""
