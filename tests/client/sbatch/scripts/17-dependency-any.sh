#!/bin/bash
#SBATCH -d afternotok:55?afternotok:56
python clean_up.py
