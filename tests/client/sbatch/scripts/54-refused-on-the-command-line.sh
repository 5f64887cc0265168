#!/bin/bash
./run
